"""What a masked word may be."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.pipelines import scores
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline, TextOptions

log = logging.getLogger("zoo")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(TextOptions):
    """Options of filling masks.

    Attributes:
      top_k: how many words for each mask.
      targets: the words to choose from, the whole vocabulary if None.
    """

    top_k: int = 5
    targets: str | Sequence[str] | None = None

    def __post_init__(self):
        super().__post_init__()
        scores.check_count("top_k", self.top_k)
        given = [self.targets] if isinstance(self.targets, str) else self.targets
        if given is not None and not (given and all(isinstance(t, str) for t in given)):
            raise ValueError(f"targets: found {given!r}, expected a word or a list of words")
        object.__setattr__(self, "targets", None if given is None else tuple(given))


class FillMask(Pipeline):
    """`"a [MASK] text"` -> `[{"score", "token", "token_str", "sequence"}]`, the best first.

    A text with several masks gives a list for each of them.
    """

    task = serves = "fill-mask"
    takes = Options
    expects = "a text with a mask"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Fills the masks of one text, of several, or of an iterable of texts."""
        found = super().__call__(inputs, **options)
        # As in transformers: a list of one text gives the answer alone.
        return found[0] if isinstance(inputs, list) and len(inputs) == 1 else found

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """One row of tokens, and where its masks are."""
        mask = self.text.mask_token_id
        if mask is None:
            raise ValueError("fill-mask: the tokenizer has no mask token; pass one that has")
        row = self.encode(item, options=options, where=where)
        masks = [i for i, token in enumerate(row["input_ids"]) if token == mask]
        if not masks:
            raise ValueError(
                f"{where}: found no {self.text.mask_token}, expected it in place of a word"
            )
        return [Row(row, masks)]

    def cut(self, name: str, x: np.ndarray, row: Row) -> np.ndarray:
        """Logits at the masks."""
        return x[row.info]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """For every mask the best tokens."""
        (row, out), tokenizer = seen[0], self.text
        found = scores.softmax(out["logits"])
        chosen = None if options.targets is None else self._ids(options.targets)
        answers = []
        for at, likely in zip(row.info, found, strict=True):
            ids = np.arange(len(likely)) if chosen is None else chosen
            answers.append([])
            for i in ids[np.argsort(-likely[ids], kind="stable")[: options.top_k]]:
                filled = list(row.inputs["input_ids"])
                filled[at] = int(i)
                kept = [token for token in filled if token != tokenizer.pad_token_id]
                text = tokenizer.decode(kept, skip_special_tokens=len(found) == 1)
                answers[-1].append(
                    {
                        "score": float(likely[i]),
                        "token": int(i),
                        "token_str": tokenizer.decode([int(i)]),
                        "sequence": text,
                    }
                )
        return answers[0] if len(answers) == 1 else answers

    def _ids(self, targets: Sequence[str]) -> np.ndarray:
        """Tokens of the targets; of a word of several tokens the first, which is said."""
        vocabulary, ids = self.text.get_vocab(), []
        for target in targets:
            found = vocabulary.get(target)
            if found is None:
                parts = self.text(target, add_special_tokens=False)["input_ids"]
                if not parts:
                    raise ValueError(f"targets: {target!r} has no tokens; drop it")
                found = parts[0]
                if len(parts) > 1 or found == self.text.unk_token_id:
                    log.warning(
                        "targets: %r is not one token; %r stands for it",
                        target, self.text.convert_ids_to_tokens(found),
                    )  # fmt: skip
            ids.append(found)
        return np.unique(ids)
