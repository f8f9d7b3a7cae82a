"""Names that survive tracing: what bridges recognise in a model's jaxpr.

`op` marks a function that other frameworks have under some name of their own (a linear map, a
layer norm, attention); `block` marks one that deserves a class of its own in emitted source (a
transformer layer). Both are thin wrappers over `jax.jit`, whose name stays in the jaxpr. They cost
nothing: XLA inlines them, and gradients and vmap pass through.

The rule of their signatures: positional arguments are arrays or trees of arrays, keyword-only
arguments are static and hashable.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax

from zoo.hint import Placement, current, placing

F = TypeVar("F", bound=Callable)


class Marker(NamedTuple):
    """A marked function: bridges re-trace `fn` to check that a jaxpr's body is really this one."""

    name: str
    kind: str  # "op" or "block"
    fn: Callable


MARKERS: dict[str, Marker] = {}


def op(name: str) -> Callable[[F], F]:
    """Marks a function as the operation `name`.

    Raises:
      ValueError: the name is taken.
    """
    return functools.partial(_mark, name, "op")


def block(fn: F) -> F:
    """Marks a function as a building block; its name is `<module>.<function>`."""
    return _mark(f"{fn.__module__.rpartition('.')[2]}.{fn.__name__}", "block", fn)


def _mark(name: str, kind: str, fn: Any) -> Any:
    if name in MARKERS:
        raise ValueError(f"marker {name!r} is taken by {MARKERS[name].fn.__module__}; rename one")
    MARKERS[name] = Marker(name, kind, fn)
    parameters = inspect.signature(fn).parameters.values()
    static = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def traced(*args, _placement: Placement | None, **kwargs):
        with placing(_placement):
            return fn(*args, **kwargs)

    traced.__name__ = traced.__qualname__ = name
    compiled = jax.jit(traced, static_argnames=(*static, "_placement"))

    @functools.wraps(fn)
    def marked(*args, **kwargs):
        return compiled(*args, _placement=current(), **kwargs)

    return marked
