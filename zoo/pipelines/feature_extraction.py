"""Vectors of a text or an image."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.pipelines.image_classification import image_row, is_image
from zoo.pipelines.rows import Row
from zoo.pipelines.run import UNLIMITED, Pipeline, TextOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TextOptions):
    """Options of feature extraction.

    Attributes:
      return_sentence: one vector of a text, pooled as its repository says.
      pool: the pooler's one vector, of models that have a pooler.
      return_tensors: numpy arrays in place of lists.
    """

    return_sentence: bool = False
    pool: bool = False
    return_tensors: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.return_sentence and self.pool:
            raise ValueError("return_sentence: found pool=True as well, expected one of them")


class FeatureExtraction(Pipeline):
    """`"a text"` -> `[[vector of each token]]`, nested as [1, T, E]; an image -> [1, patches, E].

    `return_sentence=True` gives one vector [E] of each text, pooled and normalised as the
    repository's sentence-transformers files say; `pool=True` the pooler's output [1, E].
    """

    task = serves = "feature-extraction"
    takes = Options

    def __init__(self, model: Any, **options: Any):
        """Binds a bare model; see `Pipeline`."""
        super().__init__(model, **options)
        self.images = "pixel_values" in model.forward.task.inputs
        found = self.companion("sentence_bert_config.json")
        self.sentence_length = found.get("max_seq_length") or UNLIMITED
        self.lower = bool(found.get("do_lower_case"))

    @property
    def longest(self) -> int:
        """Tokens to truncate at; sentence-transformers has a limit of its own."""
        return min(super().longest, self.sentence_length)

    def single(self, inputs: Any) -> bool:
        """Whether this is one text or one image."""
        return is_image(inputs) if self.images else super().single(inputs)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row."""
        if self.images:
            return [image_row(self, item, where)]
        if self.lower and options.return_sentence and isinstance(item, str):
            item = item.lower()
        return [Row(self.encode(item, options=options, where=where))]

    def outputs(self, options: Options) -> tuple[str, ...]:
        """The field that was asked for.

        Raises:
          ValueError: the model does not have it.
        """
        if options.return_sentence and self.model.forward.pooling is None:
            raise ValueError(
                "return_sentence: the repository has no modules.json that says how to pool; use "
                "the vectors of the tokens, or pool=True where there is a pooler"
            )
        if options.return_sentence:
            return ("sentence_embedding",)
        return ("pooler_output",) if options.pool else ("last_hidden_state",)

    def cut(self, name: str, x: np.ndarray, row: Row) -> np.ndarray:
        """Vectors of tokens that are there."""
        return x[: row.length] if name == "last_hidden_state" and not self.images else x

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """The vectors, in a batch of one but for sentences."""
        (found,) = seen[0][1].values()
        found = found if options.return_sentence else found[None]
        return found if options.return_tensors else found.tolist()
