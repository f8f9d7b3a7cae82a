"""The settings of an image processor: which keys a file may hold, and what their values mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from PIL import Image

Resampling = Image.Resampling


class Keys(TypedDict, total=False):
    """The keys of preprocessor_config.json that change the arithmetic; None takes the default."""

    do_resize: bool | None
    size: int | Sequence[int] | Mapping[str, int] | None
    resample: int | str | None
    do_center_crop: bool | None
    crop_size: int | Sequence[int] | Mapping[str, int] | None
    do_rescale: bool | None
    rescale_factor: float | None
    do_normalize: bool | None
    image_mean: float | Sequence[float] | None
    image_std: float | Sequence[float] | None
    do_convert_rgb: bool | None
    default_to_square: bool | None
    crop_pct: float | None


SIZES = (
    {"height", "width"},
    {"shortest_edge"},
    {"shortest_edge", "longest_edge"},
    {"max_height", "max_width"},
)
NAMES = ("image_processor_type", "feature_extractor_type")
INERT = frozenset(
    {
        *NAMES,
        "_valid_processor_keys",
        "auto_map",
        "backend",
        "device",
        "disable_grouping",
        "image_seq_length",
        "model_input_names",
        "pad_size",
        "processor_class",
        "return_tensors",
        "transformers_version",
        "use_fast",
    }
)
OFF = frozenset(
    {
        "do_flip_channel_order",
        "do_pad",
        "do_reduce_labels",
        "do_thumbnail",
        "reduce_labels",
        "use_square_size",
    }
)


def split(values: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a file's keys into those that change the arithmetic and those known not to.

    Inert are: a null, another processor's step that is switched off (`OFF`), bookkeeping
    (`INERT`), and `data_format: channels_first`, which is what comes out anyway.

    Raises:
        ValueError: keys that are neither; all are named.
    """
    known = {key: value for key, value in values.items() if key in Keys.__annotations__}
    extra = {key: value for key, value in values.items() if key not in known}
    refuse({key: value for key, value in extra.items() if not _inert(key, value)}, where)
    return known, extra


def refuse(strange: Mapping[str, Any], where: str) -> None:
    """Refuse keys that are not supported, if there are any.

    Raises:
        ValueError: there are; all are counted and the first three are named.
    """
    if strange:
        shown = ", ".join(f"{key}={strange[key]!r}" for key in sorted(strange)[:3])
        raise ValueError(
            f"{where}: found {len(strange)} unsupported key(s): {shown}; expected only "
            f"{', '.join(Keys.__annotations__)}; remove what does not matter to the result"
        )


def resolve(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check a complete set of keys and bring each to its one form.

    Sizes become dicts, `resample` Pillow's enum, means and deviations floats or tuples of floats.

    Raises:
        ValueError: a value that its key cannot take, or a step without what it needs.
    """
    square = _flag(values["default_to_square"], f"{where}.default_to_square")
    out = {
        key: read(values[key], f"{where}.{key}") if values[key] is not None else None
        for key, read in _READERS.items()
    }
    out["default_to_square"] = square
    out["size"] = _size(values["size"], f"{where}.size", square)
    out["crop_size"] = _size(values["crop_size"], f"{where}.crop_size", True)
    crop = out["crop_size"]
    if out["do_center_crop"] and (crop is None or "height" not in crop):
        raise ValueError(
            f"{where}.crop_size: found {crop}, but do_center_crop needs height and width; "
            "give crop_size or set do_center_crop to false"
        )
    if out["do_normalize"]:
        _check_spread(out["image_mean"], out["image_std"], where)
    return out


def _inert(key: str, value: Any) -> bool:
    off = value is None or (key in OFF and value is False)
    return off or key in INERT or (key == "data_format" and value == "channels_first")


def _flag(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{where}: found {value!r}, expected true or false")


def _real(value: Any, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30:
        return float(value)
    raise ValueError(f"{where}: found {value!r}, expected a finite number")


def _share(value: Any, where: str) -> float:
    if 0.01 <= _real(value, where) <= 1:
        return float(value)
    raise ValueError(f"{where}: found {value!r}, expected 0.01 to 1")


def _reals(value: Any, where: str) -> float | tuple[float, ...]:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0:
        return tuple(_real(item, where) for item in value)
    return _real(value, where)


def _resample(value: Any, where: str) -> Resampling:
    if isinstance(value, str):
        name = value.rpartition(".")[2].upper()
        if name in Resampling.__members__:
            return Resampling[name]
    elif isinstance(value, int) and not isinstance(value, bool) and value in list(Resampling):
        return Resampling(value)
    names = ", ".join(f"{mode.value} ({mode.name.lower()})" for mode in sorted(Resampling))
    raise ValueError(f"{where}: found {value!r}, expected one of {names}")


def _size(value: Any, where: str, square: bool) -> dict[str, int] | None:
    if value is None:
        return None
    sides: dict[str, Any]
    if isinstance(value, Mapping):
        sides = {key: side for key, side in value.items() if side is not None}
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        sides = {"height": value[0], "width": value[1]}
    else:
        sides = {"height": value, "width": value} if square else {"shortest_edge": value}
    if set(sides) not in SIZES:
        choices = " or ".join("+".join(sorted(keys)) for keys in SIZES)
        raise ValueError(
            f"{where}: found the keys {'+'.join(sorted(map(str, sides))) or 'none'}, "
            f"expected {choices}"
        )
    for side in sides.values():
        if isinstance(side, bool) or not isinstance(side, int) or not 0 < side < 2**31:
            raise ValueError(f"{where}: found {value!r}, expected whole numbers of pixels above 0")
    return sides


def _check_spread(mean: Any, std: Any, where: str) -> None:
    if isinstance(mean, tuple) and isinstance(std, tuple) and len(mean) != len(std):
        raise ValueError(
            f"{where}: image_mean has {len(mean)} values, image_std {len(std)}; "
            "give as many of each as the image has channels"
        )
    spread = std if isinstance(std, tuple) else (std,)
    if any(abs(value) < 1e-30 for value in spread):
        raise ValueError(f"{where}.image_std: found {std}, expected numbers that can be divided by")


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "do_resize": _flag,
    "resample": _resample,
    "do_center_crop": _flag,
    "do_rescale": _flag,
    "rescale_factor": _real,
    "do_normalize": _flag,
    "image_mean": _reals,
    "image_std": _reals,
    "do_convert_rgb": _flag,
    "crop_pct": _share,
}
