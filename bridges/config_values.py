"""Values of a `config.json` as the types that the fields of a Config declare."""

import math
import types
import typing
from typing import Any

from bridges.header import show

LARGEST = 2**40
INFINITE = {"Infinity": math.inf, "-Infinity": -math.inf}
DEEPEST = 2_000
Span = tuple[float, float]


def endless(text: str) -> dict[str, str]:
    """Infinity as transformers 5 spells it, because JSON has no number for it."""
    return {"__float__": text}


def spelled(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, dict):
        return {k: spelled(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [spelled(v) for v in value]
    if isinstance(value, float) and math.isinf(value):
        return endless("Infinity" if value > 0 else "-Infinity")
    return value


def meant(value: Any) -> Any:
    """The inverse of `spelled`, of one value and the items of a list."""
    if isinstance(value, list):
        return [meant(v) for v in value]
    if isinstance(value, dict) and value.keys() == {"__float__"}:
        return INFINITE.get(str(value["__float__"]), value)
    return value


def coerce(
    name: str, given: Any, hint: Any, problems: list[str], *, least: int | None = None
) -> Any:
    """Returns the value as the type that the field declares, or notes a problem.

    `least` is the lowest whole number allowed, where the name does not tell.
    """
    value: Any = given
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is tuple and isinstance(value, list):
            items = typing.get_args(option)
            sized = items[-1] is Ellipsis or len(items) == len(value)
            if items[0] is float:
                value = [float(v) if type(v) is int else v for v in value]
            if sized and all(type(v) is items[0] for v in value):
                for v in value if items[0] is int else ():
                    _check_span(name, v, _int_span(name, least), problems)
                return tuple(value)
        elif origin is float and isinstance(value, int | float) and not isinstance(value, bool):
            _check_span(name, value, _float_span(name), problems)
            return value if abs(value) > 1e300 else float(value)
        elif type(value) is origin:
            if origin is int:
                _check_span(name, value, _int_span(name, least), problems)
            if isinstance(value, str) and len(value) > 99:
                problems.append(f"{name}: found {show(value)}, expected a name")
            return value
    names = {type(None): "null", list: "list", tuple: "list"}
    wanted = " or ".join(names.get(o, getattr(o, "__name__", str(o))) for o in options)
    problems.append(f"{name}: found {show(value)}, expected {wanted}")
    return value


def _check_span(name: str, value: Any, span: Span, problems: list[str]) -> None:
    low, high = span
    if not low <= value <= high:  # also where it is not a number
        problems.append(f"{name}: found {show(value)}, expected {low} to {high}")


def _int_span(name: str, least: int | None) -> Span:
    if least is not None:
        return least, LARGEST
    if name.endswith("token_id"):
        return -LARGEST, LARGEST
    if name in ("num_labels", "max_window_layers", "type_vocab_size"):
        return 0, LARGEST
    return 1, DEEPEST if "layer" in name else LARGEST


def _float_span(name: str) -> Span:
    share = name.endswith(("dropout", "_pdrop", "_prob", "_eps", "_epsilon"))
    return (0, 1) if share else (0, 1e6) if name == "initializer_range" else (-1e300, 1e300)
