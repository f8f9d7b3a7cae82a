"""Models as pure JAX functions over parameter pytrees, loaded from and saved to the Hub's files.

Everything is imported when it is first used, so `import zoo` costs little more than `import jax`
and starts no backend.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.loading import from_config, from_pretrained
    from zoo.model import Model
    from zoo.pipelines import pipeline
    from zoo.processors import ImageProcessor, Processor
    from zoo.tokenizers import Tokenizer

__version__ = "0.1.0"

_HOMES = {
    "ImageProcessor": "zoo.processors",
    "Model": "zoo.model",
    "Processor": "zoo.processors",
    "Tokenizer": "zoo.tokenizers",
    "from_config": "zoo.loading",
    "from_pretrained": "zoo.loading",
    "pipeline": "zoo.pipelines",
}

__all__ = [
    "ImageProcessor",
    "Model",
    "Processor",
    "Tokenizer",
    "from_config",
    "from_pretrained",
    "pipeline",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
