"""The published image-processor classes that one arithmetic covers, and what each takes as given.

A row holds what a class assumes for keys that its file leaves out. Classes with steps of their own
(LeViT's 256/224, pad and patch processors) are not rows here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
COMMON: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": "bilinear",
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": HALF,
    "image_std": HALF,
    "do_convert_rgb": None,
    "default_to_square": True,
    "crop_pct": None,
}
_CLIP: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "default_to_square": False,
    "resample": "bicubic",
    "do_center_crop": True,
    "crop_size": 224,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "do_convert_rgb": True,
}


class Kind(NamedTuple):
    """One published class: the model types that use it, and where it departs from `COMMON`."""

    models: tuple[str, ...]
    given: Mapping[str, Any]


KINDS: dict[str, Kind] = {
    "ViT": Kind(
        ("vit", "vit_mae", "vit_msn", "swin", "swinv2", "dinat", "ijepa", "swiftformer"), {}
    ),
    "DeiT": Kind(
        ("deit",),
        {
            "size": {"height": 256, "width": 256},
            "resample": "bicubic",
            "do_center_crop": True,
            "crop_size": 224,
        },
    ),
    "CLIP": Kind(("clip", "clip_vision_model", "altclip", "groupvit", "metaclip_2"), _CLIP),
    "Llava": Kind(("llava",), _CLIP),
    "Bit": Kind(("bit", "dinov2", "hiera", "focalnet"), _CLIP),
    "ConvNext": Kind(
        ("resnet", "convnext", "convnextv2", "cvt", "regnet"),
        {
            "size": {"shortest_edge": 384},
            "default_to_square": False,
            "resample": "bicubic",
            "crop_pct": 224 / 256,
        },
    ),
    "Siglip": Kind(
        ("siglip", "siglip_vision_model"),
        {"resample": "bicubic", "do_convert_rgb": True, "default_to_square": False},
    ),
}

_NAME = re.compile(r"(\w+?)(?:FeatureExtractor|ImageProcessor(?:Fast|Pil)?)")


def kind_of(name: Any, where: str) -> str:
    """Return the row of a published class name, as `ViT` for `ViTFeatureExtractor`.

    Raises:
        ValueError: no row covers that class.
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match and match[1] in KINDS:
        return match[1]
    known = [f"{kind}ImageProcessor" for kind in KINDS]
    near = difflib.get_close_matches(str(name), known, 3, 0.5) or known
    raise ValueError(
        f"{where}: found the processor class {name!r} (image_processor_type), expected a supported "
        f"one; nearest: {', '.join(near)}"
    )


def kind_for_model(model_type: str | None, where: str) -> str:
    """Return the row that a model type uses when its file names no class; ViT where it has none.

    Raises:
        ValueError: the model type uses none of the supported classes.
    """
    if model_type is None:
        return "ViT"
    for kind, row in KINDS.items():
        if model_type in row.models:
            return kind
    raise ValueError(
        f"{where}: names no processor class, and none is known for model_type {model_type!r}; "
        "add image_processor_type to it"
    )
