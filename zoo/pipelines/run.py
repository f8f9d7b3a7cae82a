"""Pipeline: from inputs to rows, from rows to batches, from outputs to answers."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from zoo.generate.buckets import bucket
from zoo.model import Model
from zoo.pipelines import rows as batches
from zoo.pipelines.rows import Row
from zoo.pipelines.scores import check_count
from zoo.processors import FeatureExtractor, ImageProcessor
from zoo.tokenizers import BatchEncoding, Tokenizer

AHEAD = 16  # batches of a list that are sorted by length together
UNLIMITED = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Options of every task on text.

    Attributes:
      truncation: cut texts that are too long; they are an error otherwise.
      max_length: tokens to cut at, the model's limit if None.
    """

    truncation: bool = False
    max_length: int | None = None

    def __post_init__(self):
        if not isinstance(self.truncation, bool):
            raise ValueError(f"truncation: found {self.truncation!r}, expected True or False")
        check_count("max_length", self.max_length, optional=True)


class Pipeline:
    """A model with what turns inputs into arrays and arrays into answers.

    Called with one input it gives one answer, with a list a list, with any other iterable an
    iterator that reads as it goes. Options given here are defaults; a call may replace them.

    Attributes:
      task: name of the task.
      serves: name of the model's task, the same except for text generation.
      takes: dataclass of the task's options.
      model: the model.
      tokenizer: for text.
      image_processor: for images.
      feature_extractor: for recordings.
    """

    task: ClassVar[str]
    serves: ClassVar[str]
    takes: ClassVar[type] = TextOptions
    fields: ClassVar[tuple[str, ...]] = ("logits",)
    pairs: ClassVar[bool] = False  # takes a processor of texts and images together

    def __init__(
        self,
        model: Model,
        *,
        tokenizer: Tokenizer | None = None,
        image_processor: ImageProcessor | None = None,
        feature_extractor: FeatureExtractor | None = None,
        batch_size: int = 8,
        **options: Any,
    ):
        """Binds a model of the right task to what makes arrays of its inputs.

        Raises:
          TypeError: an option that the task does not have.
          ValueError: a model of another task, or an option's value that makes no sense.
        """
        self.model, self.tokenizer, self.image_processor = model, tokenizer, image_processor
        self.feature_extractor = feature_extractor
        if model.task != self.serves:
            raise ValueError(
                f"{self.task}: found {model.forward.class_name}, a model for {model.task}; load it "
                f"with task={self.serves!r}"
            )
        check_count("batch_size", batch_size)
        self.batch_size = batch_size
        self.options = self.choose(self.takes(), options)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Answers one input, a list of inputs, or an iterable of inputs.

        Raises:
          TypeError: an option that the task does not have.
          ValueError: an input that cannot be answered.
        """
        chosen = self.choose(self.options, options)
        check_count("batch_size", batch_size, optional=True)
        size = batch_size or self.batch_size
        if self.single(inputs):
            (answer,) = self._answers([("inputs", inputs)], chosen, size)
            return answer
        if not isinstance(inputs, Iterable):
            raise ValueError(
                f"{self.task}: found {_kind(inputs)}, expected {self.expects}, or several of them"
            )
        named = ((f"inputs[{i}]", item) for i, item in enumerate(inputs))
        if isinstance(inputs, list | tuple):
            chunks = _chunks(named, size * AHEAD)
            return [answer for chunk in chunks for answer in self._answers(chunk, chosen, size)]
        return (
            answer
            for chunk in _chunks(named, size)
            for answer in self._answers(chunk, chosen, size)
        )

    expects: ClassVar[str] = "a text"

    def single(self, inputs: Any) -> bool:
        """Whether this is one input rather than several."""
        return isinstance(inputs, str | Mapping)

    def rows(self, item: Any, options: Any, where: str) -> list[Row]:
        """What the model is to see of one input."""
        raise NotImplementedError

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Any) -> Any:
        """The answer to one input from its rows, each with the output's fields."""
        raise NotImplementedError

    def forward(self, rows: Sequence[Row], size: int, options: Any) -> list[dict[str, Any]]:
        """Runs the model on rows of similar lengths: the fields of each row, without padding."""
        arrays = self.arrays(rows, size)
        takes = self.model.forward.task.inputs
        out = self.model(**{name: x for name, x in arrays.items() if name in takes})
        asked = {name: getattr(out, name) for name in self.outputs(options)}
        if absent := [name for name, x in asked.items() if x is None]:
            raise ValueError(
                f"{self.task}: {self.model.forward.class_name} has no {absent[0]}; use what else "
                f"it gives"
            )
        fetched = jax.device_get(asked)
        wide = {name: _wide(x) for name, x in fetched.items()}
        return [
            {name: self.cut(name, x[i], row) for name, x in wide.items()}
            for i, row in enumerate(rows)
        ]

    def arrays(self, rows: Sequence[Row], size: int) -> dict[str, np.ndarray]:
        """The model's inputs of some rows, padded."""
        batch = batches.places(len(rows), size)
        if "pixel_values" in rows[0].inputs:
            return batches.images(rows, batch=batch)
        longest = max(row.length for row in rows)
        length = longest if self.exact else bucket(longest, self.room)
        kind = self.tokenizer.pad_token_type_id if self.tokenizer else 0
        return batches.tokens(rows, length=length, batch=batch, pad=self.pad_id, pad_type=kind)

    def outputs(self, options: Any) -> tuple[str, ...]:
        """Fields of the model's output that the answer needs."""
        return self.fields

    def cut(self, name: str, x: np.ndarray, row: Row) -> np.ndarray:
        """One row of a field without what belongs to padding."""
        return x

    @property
    def exact(self) -> bool:
        """Whether padding would change results, so that every row runs by itself."""
        return False

    @property
    def config(self) -> dict[str, Any]:
        """The model's `config.json`."""
        return self.model.raw_config

    @property
    def room(self) -> int | None:
        """Tokens that the model has positions for; None where any number goes."""
        return self.model.forward.architecture.module.limits(self.model.config).get("position_ids")

    @property
    def pad_id(self) -> int:
        """The id that fills rows; the model's own, because some heads look for it."""
        known = (getattr(self.model.config, "pad_token_id", None), self.text.pad_token_id, 0)
        found = next(i for i in known if i is not None)
        limits = self.model.forward.architecture.module.limits(self.model.config)
        return found if 0 <= found < limits.get("input_ids", found + 1) else 0

    @property
    def text(self) -> Tokenizer:
        """The tokenizer.

        Raises:
          ValueError: there is none.
        """
        if self.tokenizer is None:
            raise ValueError(
                f"{self.task}: the model came without a tokenizer; pass tokenizer=, a Tokenizer "
                f"or the folder or repository of one"
            )
        return self.tokenizer

    @property
    def longest(self) -> int:
        """Tokens to truncate at: the least of what the tokenizer and the model say."""
        trained = getattr(self.model.config, "max_position_embeddings", None)
        return min(self.text.model_max_length, self.room or UNLIMITED, trained or UNLIMITED)

    def encode(
        self, text: Any, pair: Any = None, *, options: Any, where: str, **asked: Any
    ) -> BatchEncoding:
        """Tokens of a text or a pair, checked against what the model can take.

        Raises:
          ValueError: no text, no tokens, or too many of them.
        """
        for name, part in ((where, text), (f"{where}, second text", pair)):
            if not isinstance(part, str) and not (part is None and name != where):
                raise ValueError(f"{name}: found {_kind(part)}, expected a string")
        if options.truncation or options.max_length is not None:
            limit = options.max_length or self.longest
            if limit < UNLIMITED:
                asked |= {"truncation": True, "max_length": limit}
        found = self.text(text, pair, **asked)
        count = len(found["input_ids"])
        self.check_length(count, where)
        return found

    def check_length(self, count: int, where: str) -> None:
        """Refuses a row that the model cannot take.

        Raises:
          ValueError: no tokens, or too many of them.
        """
        if not count:
            raise ValueError(f"{where}: the text is empty and has no tokens; pass some text")
        if self.room is not None and count > self.room:
            raise ValueError(
                f"{where}: {count} tokens, expected at most {self.room}; pass truncation=True or "
                f"split the text"
            )

    def _answers(self, items: Sequence[tuple[str, Any]], options: Any, size: int) -> Iterator[Any]:
        """Answers in order; rows are batched with others of their length."""
        rows = [
            (i, row) for i, (where, x) in enumerate(items) for row in self.rows(x, options, where)
        ]
        order = sorted(range(len(rows)), key=lambda i: -rows[i][1].length)
        seen: dict[int, dict[str, Any]] = {}
        size = 1 if self.exact else size
        for group in _chunks(order, size):
            fields = self.forward([rows[i][1] for i in group], size, options)
            seen |= dict(zip(group, fields, strict=True))
        owned: dict[int, list[tuple[Row, dict]]] = {i: [] for i in range(len(items))}
        for at, (i, row) in enumerate(rows):
            owned[i].append((row, seen[at]))
        for i, (_, item) in enumerate(items):
            yield self.answer(item, owned[i], options)

    @classmethod
    def choose(cls, options: Any, given: Mapping[str, Any]) -> Any:
        """Options with some of them replaced.

        Raises:
          TypeError: one that the task does not have.
          ValueError: a value that makes no sense.
        """
        names = [f.name for f in dataclasses.fields(cls.takes)]
        if unknown := sorted(given.keys() - set(names)):
            raise TypeError(
                f"{cls.task}: does not take {', '.join(unknown)}; it takes {', '.join(names)}"
            )
        return dataclasses.replace(options, **given)

    def companion(self, name: str) -> dict[str, Any]:
        """A JSON file of the model's folder; empty where it is missing or broken."""
        path = Path(self.model.origin.folder, name)
        if not self.model.origin.folder or not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def _chunks(items: Iterable, size: int) -> Iterator[list]:
    source = iter(items)
    while chunk := list(itertools.islice(source, size)):
        yield chunk


def _wide(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def _kind(x: Any) -> str:
    return "nothing" if x is None else f"a {type(x).__name__}"
