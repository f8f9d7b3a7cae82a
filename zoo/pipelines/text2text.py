"""A text made from another by an encoder-decoder: an answer, a summary, a translation."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from zoo.generate import config as generating
from zoo.pipelines import rows as batches
from zoo.pipelines.generation import Pieces, Writer, WritingOptions
from zoo.pipelines.rows import Row

SETTINGS = generating.NAMES | generating.NEUTRAL.keys() | generating.INERT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(WritingOptions):
    """Options of tasks on encoder-decoders, with those of `GenerationConfig`.

    Attributes:
      prefix: what every text begins with; that of the config's `task_specific_params` if None.
    """

    prefix: str | None = None


class Text2TextGeneration(Writer):
    """`"a text"` -> `[{"generated_text"}]`; a list of texts -> a list of those, without brackets.

    What `task_specific_params` of the config says of the task holds where a call says nothing.
    """

    task, serves = "text2text-generation", "seq2seq-lm"
    takes = Options
    result: ClassVar[str] = "generated"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Answers one text, a list of texts, or an iterable of texts.

        Raises:
          TypeError: an unknown option.
          ValueError: an option that is not supported yet, or a text that cannot be read.
        """
        found = super().__call__(inputs, **options)
        alone = isinstance(inputs, list | tuple) and all(len(one) == 1 for one in found)
        return [one for (one,) in found] if alone else found

    def profile(self, options: Any) -> Mapping[str, Any]:
        """What the config says of this task."""
        params = self.config.get("task_specific_params") or {}
        return params.get(self.task) or {}

    def rows(self, item: Any, options: Any, where: str) -> list[Row]:
        """One row: the tokens of the prefix and the text."""
        known = self.profile(options).get("prefix", self.config.get("prefix"))
        prefix = known if options.prefix is None else options.prefix
        text = prefix + item if prefix and isinstance(item, str) else item
        return [Row({"input_ids": self.encode(text, options=options, where=where)["input_ids"]})]

    def forward(self, rows: Sequence[Row], size: int, options: Any) -> list[dict[str, Any]]:
        """The new tokens of each row."""
        longest = max(row.length for row in rows)
        arrays = batches.tokens(rows, length=longest, batch=len(rows), pad=self.pad_id)
        said = {k: x for k, x in self.profile(options).items() if k in SETTINGS}
        if options.settings.get("max_new_tokens") is not None:
            said.pop("max_length", None)
        options = dataclasses.replace(options, settings={**said, **options.settings})
        piece = None
        if options.on_text:
            skip = options.skip_special_tokens
            read = functools.partial(self.text.decode, skip_special_tokens=skip)
            piece = Pieces(read, options.on_text)
        new = self.written(arrays, options, limit=self.new_tokens(1, options), piece=piece)
        if piece is not None:
            piece.close()
        return [{"tokens": tokens} for tokens in new]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Any) -> Any:
        """The texts."""
        return [self._one(tokens, options) for tokens in seen[0][1]["tokens"]]

    def _one(self, tokens: list[int], options: Any) -> dict[str, Any]:
        if options.return_tensors:
            return {f"{self.result}_token_ids": tokens}
        text = self.text.decode(tokens, skip_special_tokens=options.skip_special_tokens)
        return {f"{self.result}_text": text}


class Summarization(Text2TextGeneration):
    """`"a text"` -> `[{"summary_text"}]`."""

    task, result = "summarization", "summary"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationOptions(Options):
    """Options of translation.

    Attributes:
      src_lang: language of the text, as `task_specific_params` names it.
      tgt_lang: language of the result.
    """

    src_lang: str | None = None
    tgt_lang: str | None = None


class Translation(Text2TextGeneration):
    """`"a text"` -> `[{"translation_text"}]`; `translation_en_to_de` says the languages too."""

    task, result = "translation", "translation"
    takes = TranslationOptions

    def profile(self, options: Any) -> Mapping[str, Any]:
        """What the config says of translation between these languages."""
        params = self.config.get("task_specific_params") or {}
        return params.get(f"translation_{options.src_lang}_to_{options.tgt_lang}") or {}
