"""The text of a long recording from what Whisper wrote of its chunks, which overlap."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.tokenizers import Tokenizer
from zoo.tokenizers.languages import LANGUAGES

log = logging.getLogger("zoo")
SILENT = "<|notimestamps|>"  # the ids after it are times
PLACES = 1500  # of a segment, as transformers counts them
Stride = tuple[float, float, float]  # seconds of a chunk, of its context to the left and right


@dataclasses.dataclass
class _Reader:
    """What has been read so far.

    Attributes:
      chunks: finished ones.
      language: the last that was heard.
      begin: time at which the open chunk begins.
      spoken: of the open chunk, its tongue.
      open: tokens of the open chunk, a list from each chunk of the recording.
    """

    tokenizer: Tokenizer
    chunks: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    language: str | None = None
    spoken: str | None = None
    begin: float | None = None
    open: list[list[int]] = dataclasses.field(default_factory=list)

    def close(self, end: float | None = None) -> None:
        """Ends the open chunk at a time."""
        text = self.tokenizer.decode(merged(self.open)) if self.open else ""
        self.chunks.append({"language": self.spoken, "timestamp": (self.begin, end), "text": text})
        self.reset()

    def reset(self) -> None:
        """Opens a new chunk."""
        self.open, self.begin, self.spoken = [], None, self.language


def read(
    tokenizer: Tokenizer,
    pieces: Sequence[tuple[Sequence[int], Stride | None]],
    *,
    precision: float,
    timestamps: bool,
    language: bool,
) -> dict[str, Any]:
    """`{"text"}`, and `"chunks"` where times or languages are asked for.

    Args:
      tokenizer: of the model.
      pieces: what was written of each chunk of a recording, and its stride.
      precision: seconds from a time to the next.
      timestamps: say when.
      language: say in which language.
    """
    state, special = _Reader(tokenizer), set(tokenizer.all_special_ids)
    first = tokenizer.convert_tokens_to_ids(SILENT) + 1
    offset, skip = 0.0, False
    for tokens, stride in pieces:
        size, left, right = stride or (0.0, 0.0, 0.0)
        offset -= left
        least = left / precision + first
        late = _late(tokens, first, precision, size - right) if right else None
        current: list[int] = []
        highest = previous = passed = 0.0
        for i, token in enumerate(tokens):
            if token in special:
                found = LANGUAGES.get(tokenizer.decode([token])[2:-2])
                if found is None:
                    continue
                if state.language and found != state.language and not timestamps:
                    state.open.append(current)
                    state.close()
                    current = []
                state.spoken = state.language = found
            elif token < first:
                current.append(token)
            else:
                time = (token - first) * precision
                if time < highest:  # the model listened again from a later place
                    if i >= 2 and not (tokens[i - 1] >= first and tokens[i - 2] >= first):
                        passed += precision * PLACES
                    else:
                        highest, passed = previous, passed + previous
                previous, highest = highest, time
                time = round(time + offset + passed, 2)
                if late and token >= late:
                    skip = True  # it belongs to the context; the next chunk says it again
                elif skip or (state.open and token < least):
                    skip = False
                elif state.begin is None:
                    state.begin = time
                elif time != state.begin:
                    state.open.append(current)
                    state.close(time)
                    current = []
        offset += size - right
        if current:
            state.open.append(current)
        elif not any(state.open):
            state.reset()
    if state.open:
        if timestamps:
            log.warning("whisper: the text ends without a time; the recording may be cut off")
        state.close()
    text = "".join(chunk["text"] for chunk in state.chunks)
    if not timestamps and not language:
        return {"text": text}
    kept = ("language",) * language + ("timestamp",) * timestamps + ("text",)
    return {"text": text, "chunks": [{name: c[name] for name in kept} for c in state.chunks]}


def _late(tokens: Sequence[int], first: int, precision: float, end: float) -> int | None:
    """The earliest time that is left to the next chunk: it lies in the context to the right.

    The last time always is.
    """
    late = None
    for token in reversed(tokens):
        if token >= first:
            if late is not None and (token - first) * precision < end:
                break
            late = token
    return late


def merged(texts: Sequence[Sequence[int]]) -> list[int]:
    """Texts that overlap -> one: at the best match it changes from the left to the right one."""
    out: list[int] = []
    left = list(texts[0])
    for right in texts[1:]:
        best, found = 0.0, (len(left), len(left), 0, 0)
        for i in range(1, len(left) + len(right)):
            a, b = max(0, len(left) - i), min(len(left), len(left) + len(right) - i)
            c, d = max(0, i - len(left)), min(len(right), i)
            same = int(np.sum(np.equal(left[a:b], right[c:d])))
            score = same / i + i / 10000.0  # long matches are better
            if same > 1 and score > best:
                best, found = score, (a, b, c, d)
        a, b, c, d = found
        out += left[: (a + b) // 2]
        left = list(right[(c + d) // 2 :])
    return out + left
