"""Scores from logits, and labels in their order."""

import operator
from collections.abc import Mapping
from typing import Any, SupportsIndex

import numpy as np

FUNCTIONS = ("softmax", "sigmoid", "none")


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    y = np.exp(x - x.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Independent probabilities; never overflows."""
    y = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + y), y / (1 + y))


def function_for(config: Mapping[str, Any], labels: int, asked: str | None) -> str:
    """One of `FUNCTIONS`: as asked, or what the kind of problem in `config.json` calls for."""
    if asked is not None:
        return asked
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or labels == 1 else "softmax"


def apply(function: str, logits: np.ndarray) -> np.ndarray:
    """Scores [C] of logits [C] under one of `FUNCTIONS`."""
    return {"softmax": softmax, "sigmoid": sigmoid, "none": lambda x: x}[function](logits)


def ranked(
    scores: np.ndarray, labels: Mapping[int, str], top_k: int | None
) -> list[dict[str, Any]]:
    """The best labels with their scores; all of them with `top_k=None`."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [{"label": name_of(labels, int(i)), "score": float(scores[i])} for i in order]


def name_of(labels: Mapping[int, str], index: int) -> str:
    """The name of a label, or `LABEL_3` where the config has none."""
    return labels.get(index, f"LABEL_{index}")


def check_function(function: Any) -> str | None:
    """`function_to_apply` in lower case.

    Raises:
      ValueError: it is none of `FUNCTIONS`.
    """
    if function is None:
        return None
    if not isinstance(function, str) or function.lower() not in FUNCTIONS:
        raise ValueError(
            f"function_to_apply: found {function!r}, expected one of {', '.join(FUNCTIONS)}"
        )
    return function.lower()


def check_count(name: str, value: object, *, optional: bool = False, least: int = 1) -> None:
    """Refuses what is no number of things.

    Raises:
      ValueError: `value` is not a whole number of at least `least`, nor None where `optional`.
    """
    if value is None and optional:
        return
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        if operator.index(value) >= least:
            return
    other = ", or None" if optional else ""
    raise ValueError(f"{name}: found {value!r}, expected a whole number of at least {least}{other}")
