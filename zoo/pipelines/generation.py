"""What pipelines that write text share: settings of generation, new tokens, text as it grows."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.generate import config as generating
from zoo.pipelines.run import Pipeline, TextOptions

MAX_NEW_TOKENS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class WritingOptions(TextOptions):
    """Options of tasks that write text; those of `GenerationConfig` are options as well.

    Attributes:
      return_tensors: ids in place of text.
      skip_special_tokens: leave the end of text and the like out.
      on_text: called with every new piece of text of a single input as it comes.
      settings: what is left for `generate`.
    """

    return_tensors: bool = False
    skip_special_tokens: bool = True
    on_text: Callable[[str], None] | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Writer(Pipeline):
    """A pipeline whose model generates."""

    takes = WritingOptions

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Answers one input, a list of inputs, or an iterable of inputs.

        Raises:
          TypeError: an unknown option.
          ValueError: an option that is not supported yet, or pieces of several inputs.
        """
        streamed = options.get("on_text") or self.options.on_text
        if streamed and not self.single(inputs):
            raise ValueError(f"on_text: found several inputs, expected {self.expects}")
        return super().__call__(inputs, **options)

    @classmethod
    def choose(cls, options: Any, given: Mapping[str, Any]) -> Any:
        """Options with some of them replaced.

        Raises:
          TypeError: an unknown option.
          ValueError: one that generation does not support yet, or a value that makes no sense.
        """
        own = {f.name for f in dataclasses.fields(cls.takes)} - {"settings"}
        rest = {k: x for k, x in given.items() if k not in own}
        known = generating.NAMES | generating.NEUTRAL.keys() | generating.INERT
        if not rest.keys() <= known:
            given = {k: x for k, x in given.items() if k not in known}
            return super().choose(options, given)  # which names them
        settings = {**options.settings, **rest}
        generating.combine({}, settings)
        given = {k: x for k, x in given.items() if k in own}
        return dataclasses.replace(options, **given, settings=settings)

    def new_tokens(self, prompt: int, options: Any) -> int | None:
        """How many tokens to make after a prompt where nobody says so; None where somebody does."""
        said = {**self.model.generation_settings, **options.settings}
        if any(said.get(name) is not None for name in ("max_new_tokens", "max_length")):
            return None
        return MAX_NEW_TOKENS if self.room is None else min(MAX_NEW_TOKENS, self.room + 1 - prompt)

    def written(
        self, arrays: Mapping[str, Any], options: Any, *, limit: int | None, piece: Any = None
    ) -> list[list[list[int]]]:
        """New tokens of every row and each of its continuations, an end included.

        Args:
          arrays: what the model is called with.
          options: of the pipeline.
          limit: of new tokens, where nobody says.
          piece: called with the tokens of every step.
        """
        settings = dict(options.settings)
        stored = self.model.generation_settings
        if limit is not None:
            settings["max_new_tokens"] = limit
        for name in ("eos_token_id", "pad_token_id"):
            if settings.get(name) is None and stored.get(name) is None:
                known = self.text.eos_token_id if name == "eos_token_id" else self.pad_id
                settings[name] = known
        ends = generating.combine(stored, settings).ends
        out = np.asarray(self.model.generate(**arrays, **settings, streamer=piece))
        ids = arrays.get("input_ids")
        begin = ids.shape[1] if ids is not None and not self.crosses else 1
        rows = [_ended(row[begin:].tolist(), ends) for row in out]
        times = settings.get("num_return_sequences") or 1
        return [rows[i : i + times] for i in range(0, len(rows), times)]

    @property
    def crosses(self) -> bool:
        """Whether the text is written by a decoder behind an encoder."""
        return self.model.forward.task.crosses


def _ended(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """Tokens up to the first that ends a text."""
    last = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: last + 1]


class Pieces:
    """Hands on the text of one row as it grows, never half a character."""

    def __init__(self, text: Callable[[list[int]], str], on_text: Callable[[str], None]):
        """`text` makes the text of the new tokens so far."""
        self.text, self.on_text = text, on_text
        self.tokens: list[int] = []
        self.shown = 0

    def __call__(self, tokens: np.ndarray) -> None:
        """Takes the next token and hands on what is complete."""
        self.tokens.append(int(tokens[0]))
        text = self.text(self.tokens)
        if not text.endswith("\ufffd"):
            self._show(text)

    def close(self) -> None:
        """Hands on what is left."""
        self._show(self.text(self.tokens))

    def _show(self, text: str) -> None:
        if len(text) > self.shown:
            self.on_text(text[self.shown :])
            self.shown = len(text)
