"""Processors: images or recordings in, the arrays that a model takes out, as its own settings say.

`Processor.from_pretrained` reads a repository and returns the processor that belongs to it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.processors.audio import FeatureExtractor
    from zoo.processors.auto import Processor
    from zoo.processors.detection import DetectionProcessor
    from zoo.processors.features import Features
    from zoo.processors.image import ImageProcessor
    from zoo.processors.pairs import ImageTextProcessor
    from zoo.processors.patches import PatchProcessor

__all__ = [
    "DetectionProcessor",
    "FeatureExtractor",
    "Features",
    "ImageProcessor",
    "ImageTextProcessor",
    "PatchProcessor",
    "Processor",
]

_HOMES = {
    "DetectionProcessor": "detection",
    "FeatureExtractor": "audio",
    "Features": "features",
    "ImageProcessor": "image",
    "ImageTextProcessor": "pairs",
    "PatchProcessor": "patches",
    "Processor": "auto",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, whether imported yet or not."""
    return sorted({*globals(), *__all__})
