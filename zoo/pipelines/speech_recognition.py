"""The text of a recording, of any length, and when it was said."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.generate.whisper import transcribe
from zoo.pipelines import whisper
from zoo.pipelines.listening import Listener
from zoo.pipelines.rows import Row
from zoo.tokenizers.ctc import CTCTokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of speech recognition.

    Attributes:
      chunk_length_s: seconds of a chunk that the model hears at once; all of it if 0 or None.
      stride_length_s: seconds to the left and right of each chunk that only give it context, one
        number or two; a sixth of a chunk if None.
      return_timestamps: "char" or "word" for CTC models, True for Whisper.
      return_language: say which language was heard, for Whisper.
      generate_kwargs: options of `generate`, for Whisper; `language` and `task` among them.
    """

    chunk_length_s: float | None = None
    stride_length_s: float | Sequence[float] | None = None
    return_timestamps: bool | str | None = None
    return_language: bool = False
    generate_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        strides = self.strides
        lengths = (self.chunk_length_s or 0, *strides)
        if any(isinstance(x, bool) or not isinstance(x, int | float) for x in lengths) or any(
            not 0 <= x < math.inf for x in lengths
        ):
            raise ValueError(
                f"chunk_length_s, stride_length_s: found {lengths}, expected seconds from 0 on"
            )
        if self.chunk_length_s and sum(strides) >= self.chunk_length_s:
            raise ValueError(
                f"stride_length_s: found {strides} of chunks of {self.chunk_length_s} s, expected "
                f"less together; make the chunks longer"
            )

    @property
    def strides(self) -> tuple[float, float]:
        """Seconds to the left and to the right."""
        given = self.stride_length_s
        given = (self.chunk_length_s or 0) / 6 if given is None else given
        both = (given, given) if isinstance(given, int | float) else tuple(given)
        if len(both) != 2:
            raise ValueError(f"stride_length_s: found {given!r}, expected one or two numbers")
        return both


class SpeechRecognition(Listener):
    """A recording -> `{"text"}`, and `"chunks"` with their times on request."""

    task = serves = "automatic-speech-recognition"
    takes = Options

    @property
    def writes(self) -> bool:
        """Whether the model writes text token by token, rather than labels frames."""
        return self.extractor.spectral

    @property
    def ratio(self) -> int:
        """Samples to a frame of the output."""
        return 1 if self.writes else math.prod(self.model.config.conv_stride)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """A row per chunk; what it tells the answer is (samples, to the left, to the right)."""
        self._check(options)
        samples = self.samples(item, where)
        if not options.chunk_length_s:
            room = self.extractor.n_samples if self.writes else samples.size
            if samples.size > room:
                raise ValueError(
                    f"{where}: found {samples.size / self.extractor.sampling_rate:.1f} s, expected "
                    f"at most {self.extractor.chunk_length} s at once; pass "
                    f"chunk_length_s={self.extractor.chunk_length}"
                )
            return [self.row(samples, where)]
        size, left, right = (
            round(seconds * self.extractor.sampling_rate / self.ratio) * self.ratio
            for seconds in (options.chunk_length_s, *options.strides)
        )
        if self.writes and size > self.extractor.n_samples:
            raise ValueError(
                f"chunk_length_s: found {options.chunk_length_s}, expected at most "
                f"{self.extractor.chunk_length}; the model hears no more at once"
            )
        if size <= left + right:
            raise ValueError(
                f"chunk_length_s: {options.chunk_length_s} s are {size} samples, {left + right} of "
                f"them context; make the chunks longer"
            )
        return list(self._chunks(samples, size, left, right, where))

    def _chunks(self, samples: np.ndarray, size: int, left: int, right: int, where: str) -> Any:
        for start in range(0, samples.size, size - left - right):
            chunk = samples[start : start + size]
            last = start + size >= samples.size
            before, after = left if start else 0, 0 if last else right
            if chunk.size > before:
                yield self.row(chunk, where, (chunk.size, before, after))
            if last:
                return

    def forward(self, rows: Sequence[Row], size: int, options: Options) -> list[dict[str, Any]]:
        """Logits of frames, or tokens."""
        if not self.writes:
            return super().forward(rows, size, options)
        found = transcribe(
            self.model,
            self.arrays(rows, size)["input_features"],
            timestamps=bool(options.return_timestamps),
            **options.generate_kwargs,
        )
        return [{"tokens": tokens} for tokens in found[: len(rows)]]

    def cut(self, name: str, x: np.ndarray, row: Row) -> np.ndarray:
        """The frames of one row."""
        c = self.model.config
        return x[: c.adapted(c.frames(row.length))]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """The text, and where it was heard."""
        if self.writes:
            rate = self.extractor.sampling_rate
            pieces = [
                (out["tokens"], row.info and tuple(n / rate for n in row.info)) for row, out in seen
            ]
            precision = self.extractor.chunk_length / self.model.config.max_source_positions
            return whisper.read(
                self.text,
                pieces,
                precision=precision,
                timestamps=bool(options.return_timestamps),
                language=options.return_language,
            )
        frames = [self._heard(out["logits"].argmax(-1), row.info) for row, out in seen]
        ids = np.concatenate(frames)
        if not isinstance(self.text, CTCTokenizer):
            raise ValueError(
                f"{self.task}: found a tokenizer of {self.text.tokenizer_class}, expected one of "
                f"characters (vocab.json); pass tokenizer="
            )
        if not options.return_timestamps:
            return {"text": self.text.decode(ids)}
        unit = str(options.return_timestamps)
        found = self.text.decode(ids, output_char_offsets=True, output_word_offsets=True)
        offsets = found.word_offsets if unit == "word" else found.char_offsets
        rate = self.extractor.sampling_rate
        chunks = [
            {
                "text": one[unit],
                "timestamp": tuple(
                    one[f"{end}_offset"] * self.ratio / rate for end in ("start", "end")
                ),
            }
            for one in offsets or ()
        ]
        return {"text": found.text, "chunks": chunks}

    def _heard(self, ids: np.ndarray, info: tuple[int, int, int] | None) -> np.ndarray:
        """Ids of frames without those that only gave context."""
        if info is None:
            return ids
        samples, *context = info
        frames = round(samples / self.ratio)
        left, right = (round(n / samples * frames) for n in context)
        return ids[left : frames - right]

    def _check(self, options: Options) -> None:
        """Refuses options of the other kind of model."""
        units = (None, False, True) if self.writes else (None, False, "char", "word")
        found = options.return_timestamps
        if not any(found is unit or found == unit for unit in units) or (
            not self.writes and found is True
        ):
            wanted = "True" if self.writes else "'char' or 'word'"
            raise ValueError(
                f"return_timestamps: found {found!r}, expected {wanted} with "
                f"{self.model.forward.class_name}"
            )
        if not self.writes and (options.return_language or options.generate_kwargs):
            raise ValueError(
                f"return_language, generate_kwargs: {self.model.forward.class_name} labels frames "
                f"and writes nothing; leave them out"
            )
