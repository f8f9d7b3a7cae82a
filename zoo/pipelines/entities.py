"""Tokens to words to entities, as transformers aggregates them.

Tags may be written in the scheme B-X (begins), I-X (inside); others count as inside.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from zoo.pipelines.scores import name_of

Join = Callable[[Sequence[str]], str]


class Token(NamedTuple):
    """A token or a word with its probabilities [C]; `inside` says that it continues a word."""

    word: str
    scores: np.ndarray
    start: int
    end: int
    index: int
    inside: bool


class Tagged(NamedTuple):
    """A token or a word with its likeliest tag."""

    word: str
    tag: str
    score: float
    start: int
    end: int


def words(tokens: Sequence[Token], how: str, join: Join) -> list[Token]:
    """Tokens -> words with the probabilities of the first token, the surest, or their average."""
    runs: list[list[Token]] = []
    for token in tokens:
        if token.inside and runs:
            runs[-1].append(token)
        else:
            runs.append([token])
    choose = {
        "first": lambda run: run[0].scores,
        "max": lambda run: max(run, key=lambda token: token.scores.max()).scores,
        "average": lambda run: np.mean([token.scores for token in run], axis=0),
    }[how]
    return [
        Token(
            join([token.word for token in run]),
            choose(run),
            run[0].start,
            run[-1].end,
            run[0].index,
            False,
        )
        for run in runs
    ]


def tagged(token: Token, labels: Mapping[int, str]) -> Tagged:
    """A token with its likeliest tag."""
    best = int(np.argmax(token.scores))
    score = float(token.scores[best])
    return Tagged(token.word, name_of(labels, best), score, token.start, token.end)


def plain(one: Tagged, index: int) -> dict[str, Any]:
    """The answer for a token by itself."""
    return {
        "entity": one.tag,
        "score": one.score,
        "index": index,
        "word": one.word,
        "start": one.start,
        "end": one.end,
    }


def groups(tokens: Iterable[Tagged], join: Join) -> list[dict[str, Any]]:
    """Neighbours of one tag as one entity; a tag B-X always begins another."""
    runs: list[list[Tagged]] = []
    for one in tokens:
        if runs and not one.tag.startswith("B-") and _name(one) == _name(runs[-1][-1]):
            runs[-1].append(one)
        else:
            runs.append([one])
    return [
        {
            "entity_group": run[0].tag.split("-", 1)[-1],
            "score": float(np.mean([one.score for one in run])),
            "word": join([one.word for one in run]),
            "start": run[0].start,
            "end": run[-1].end,
        }
        for run in runs
    ]


def merged(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entities of overlapping windows: of those that overlap the longest, then the surest."""
    kept: list[dict[str, Any]] = []
    for one in sorted(found, key=lambda e: e["start"]):
        if not kept or not kept[-1]["start"] <= one["start"] < kept[-1]["end"]:
            kept.append(one)
        elif _weight(one) > _weight(kept[-1]):
            kept[-1] = one
    return kept


def _weight(one: dict[str, Any]) -> tuple[int, float]:
    return one["end"] - one["start"], one["score"]


def _name(one: Tagged) -> str:
    return one.tag[2:] if one.tag[:2] in ("B-", "I-") else one.tag
