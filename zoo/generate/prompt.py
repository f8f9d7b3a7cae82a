"""What generation begins with, as host arrays: ids, which of them are padding, their positions.

Letters: B batch, P tokens of the prompt.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from zoo.forward import Forward
from zoo.generate.buckets import bucket
from zoo.generate.config import GenerationConfig
from zoo.generate.loop import Names

DECODER = "decoder_"


class Prompt(NamedTuple):
    """A batch of texts to continue.

    Attributes:
      ids: int32 [B, P].
      mask: int32 [B, P], 0 for padding on the left.
      positions: int32 [..., B, P], or None where the model does not take them.
      beside: what else the first call takes: images, or what an encoder sees.
      names: what the model calls the first three.
    """

    ids: np.ndarray
    mask: np.ndarray
    positions: np.ndarray | None
    beside: dict[str, Any]
    names: Names

    @property
    def longest(self) -> int:
        """Tokens of the longest text, padding not counted."""
        return int(self.mask.sum(1).max())

    def repeated(self, times: int) -> "Prompt":
        """Every text so many times in a row."""
        positions = self.positions
        if positions is not None:
            positions = np.repeat(positions, times, axis=-2)
        ids, mask = (np.repeat(x, times, axis=0) for x in (self.ids, self.mask))
        return self._replace(ids=ids, mask=mask, positions=positions)


def prompt(forward: Forward, c: GenerationConfig, given: Mapping[str, Any]) -> Prompt:
    """The prompt of a decoder, or of the decoder behind an encoder, in arrays that were checked.

    Raises:
      ValueError: no prompt and no id to begin with, or padding on the right.
    """
    crosses = forward.task.crosses
    prefix = DECODER if crosses else ""
    takes = forward.task.inputs
    positions = f"{prefix}position_ids"
    names = Names(
        f"{prefix}input_ids", f"{prefix}attention_mask", positions if positions in takes else None
    )
    own = {k for k in given if k.startswith(DECODER)} if crosses else {names.ids, names.mask}
    beside = {k: x for k, x in given.items() if k not in own and k != names.positions}
    ids = _begin(forward, c, given, names) if crosses else np.asarray(given[names.ids])
    mask = given.get(names.mask)
    if mask is None:
        mask = _guessed(ids, c) if not crosses else np.ones_like(ids)
    mask = np.asarray(mask, np.int32)
    if mask.shape[1] < ids.shape[1]:  # the decoder's start was put in front
        mask = np.concatenate([np.ones_like(mask[:, :1]), mask], axis=1)
    if not mask[:, -1].all():
        row = int(np.argmin(mask[:, -1]))
        raise ValueError(
            f"generate: {names.mask}: row {row} ends in padding, expected padding on the left; "
            f"tokenize with padding_side='left'"
        )
    return Prompt(ids, mask, _positions(forward, names, given, ids, mask), beside, names)


def _begin(
    forward: Forward, c: GenerationConfig, given: Mapping[str, Any], names: Names
) -> np.ndarray:
    """Ids of the decoder [B, P], which begin with its start."""
    start = c.bos_token_id if c.decoder_start_token_id is None else c.decoder_start_token_id
    batch = next(len(x) for k, x in given.items() if not k.startswith(DECODER))
    ids = given.get(names.ids)
    if start is None and ids is None:
        raise ValueError(
            f"generate: {forward.class_name}: found no decoder_start_token_id in config.json or "
            f"generation_config.json; pass it, or {names.ids}"
        )
    if ids is None:
        return np.full((batch, 1), start, np.int32)
    ids = np.asarray(ids)
    keeps = getattr(forward.architecture.module, "STARTS_FREELY", False) or start is None
    if keeps or (ids[:, 0] == start).any():
        return ids
    return np.concatenate([np.full_like(ids[:, :1], start), ids], axis=1)


def _guessed(ids: np.ndarray, c: GenerationConfig) -> np.ndarray:
    """A mask of what is no padding, where padding can be told from the end of a text."""
    pad = c.pad_token_id
    if pad is None or pad in c.ends or not (ids == pad).any():
        return np.ones_like(ids)
    return (ids != pad).astype(np.int32)


def _positions(
    forward: Forward, names: Names, given: Mapping[str, Any], ids: np.ndarray, mask: np.ndarray
) -> np.ndarray | None:
    """Positions of a prompt: those given, those of the architecture, or the count of tokens."""
    if names.positions is None:
        return None
    if (found := given.get(names.positions)) is not None:
        found = np.asarray(found, np.int32)
        return found if found.ndim > 1 else np.broadcast_to(found, ids.shape)
    if own := getattr(forward.architecture.module, "positions", None):
        inputs = {**given, names.ids: ids, names.mask: mask}
        return np.asarray(own(forward.config, inputs), np.int32)
    return np.maximum(np.cumsum(mask, axis=1, dtype=np.int32) - 1, 0)


def rounded(beside: Mapping[str, Any], table: int | None = None) -> dict[str, Any]:
    """What an encoder sees, its text padded on the right to one of few lengths.

    `table` is the number of its positions, where it has a table of them.
    """
    ids = beside.get("input_ids")
    if ids is None:
        return dict(beside)
    ids = np.asarray(ids)
    mask = beside.get("attention_mask")
    mask = np.ones_like(ids) if mask is None else np.asarray(mask, np.int32)
    more = ((0, 0), (0, bucket(ids.shape[1], table) - ids.shape[1]))
    return {**beside, "input_ids": np.pad(ids, more), "attention_mask": np.pad(mask, more)}
