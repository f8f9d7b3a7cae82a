"""Text or images in, answers out, by task name; spelled as transformers' pipelines.

`zoo.pipeline("fill-mask", repo)("Paris is the [MASK] of France.")`. README.md has the results of
each task and what differs from transformers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.pipelines.load import TASKS, pipeline
    from zoo.pipelines.run import Pipeline

__all__ = ["TASKS", "Pipeline", "pipeline"]

_HOMES = {"Pipeline": "run", "TASKS": "load", "pipeline": "load"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
