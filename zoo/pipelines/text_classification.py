"""Labels or scores of a text or a pair of texts."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.pipelines import scores
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, TextOptions

BEST = "best"  # the one label, not in a list


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TextOptions):
    """Options of text classification.

    Attributes:
      top_k: how many labels, all of them if None.
      function_to_apply: "softmax", "sigmoid" or "none"; by the config's problem if None.
    """

    top_k: int | str | None = BEST
    function_to_apply: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.top_k != BEST:
            scores.check_count("top_k", self.top_k, optional=True)
        function = scores.check_function(self.function_to_apply)
        object.__setattr__(self, "function_to_apply", function)


class TextClassification(Pipeline):
    """`"a text"` -> `[{"label", "score"}]`; a list of texts -> one `{"label", "score"}` for each.

    With `top_k`, a list of labels for each text, the best first. A pair of texts is
    `{"text": ..., "text_pair": ...}`.
    """

    task = serves = "text-classification"
    takes = Options
    expects = 'a text or {"text": ..., "text_pair": ...}'

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Labels of one text, several, or an iterable of texts."""
        found = super().__call__(inputs, **options)
        # As in transformers: one text and no top_k in this call gives a list of one answer.
        return [found] if isinstance(inputs, str) and "top_k" not in options else found

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row of tokens."""
        text, pair = pair_of(item, where, optional=True)
        return [Row(self.encode(text, pair, options=options, where=where))]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """Labels with their scores."""
        logits = seen[0][1]["logits"]
        how = scores.function_for(self.config, len(logits), options.function_to_apply)
        top_k = 1 if isinstance(options.top_k, str) else options.top_k
        found = scores.ranked(scores.apply(how, logits), self.model.id2label, top_k)
        return found[0] if options.top_k == BEST else found

    @property
    def exact(self) -> bool:
        """A head on a decoder without a `pad_token_id` reads the last token, whatever it is."""
        return getattr(self.model.config, "pad_token_id", None) is None


def pair_of(item: Any, where: str, *, optional: bool = False) -> tuple[Any, Any]:
    """A text and its pair, from a text or `{"text", "text_pair"}`.

    Raises:
      ValueError: something else, or a pair is missing that is not `optional`.
    """
    wanted = {"text", "text_pair"}
    if isinstance(item, Mapping):
        if "text" not in item or item.keys() - wanted or not (optional or "text_pair" in item):
            found = ", ".join(map(str, item)) or "nothing"
            raise ValueError(f"{where}: found the keys {found}, expected text and text_pair")
        return item["text"], item.get("text_pair")
    if isinstance(item, str) and optional:
        return item, None
    raise ValueError(
        f"{where}: found a {type(item).__name__}, expected "
        f"{'a text or ' if optional else ''}{{'text': ..., 'text_pair': ...}}"
    )
