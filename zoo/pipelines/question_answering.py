"""The span of a text that answers a question. Windows and scores as in transformers 4."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Encoding

from zoo.pipelines import scores
from zoo.pipelines.rows import Row
from zoo.pipelines.run import Pipeline

WINDOW, STRIDE = 384, 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of question answering.

    Attributes:
      top_k: how many answers.
      max_seq_len: tokens of a window with the question; 384 or what the model takes if None.
      doc_stride: tokens that windows share; 128 or half a window if None.
      max_answer_len: tokens of an answer at most.
      handle_impossible_answer: let "" be an answer.
      align_to_words: widen answers to whole words.
    """

    top_k: int = 1
    max_seq_len: int | None = None
    doc_stride: int | None = None
    max_answer_len: int = 15
    handle_impossible_answer: bool = False
    align_to_words: bool = True

    def __post_init__(self):
        for name in ("top_k", "max_answer_len"):
            scores.check_count(name, getattr(self, name))
        scores.check_count("max_seq_len", self.max_seq_len, optional=True)
        scores.check_count("doc_stride", self.doc_stride, optional=True, least=0)


class Window(NamedTuple):
    """What is to be known of a row: its tokens, and which of them an answer may consist of."""

    encoding: Encoding
    context: np.ndarray
    side: int


class QuestionAnswering(Pipeline):
    """`question=..., context=...` -> `{"score", "start", "end", "answer"}`.

    Also `{"question": ..., "context": ...}`, or a list of such. With `top_k` a list of answers.
    """

    task = serves = "question-answering"
    takes = Options
    fields = ("start_logits", "end_logits")
    expects = '{"question": ..., "context": ...}'

    def __call__(
        self, inputs: Any = None, *, question: Any = None, context: Any = None, **options: Any
    ) -> Any:
        """Answers one question, several, or an iterable of questions with their contexts."""
        if question is not None or context is not None:
            inputs = _asked(inputs, question, context)
        # As in transformers: a list of one gives the answer alone.
        if isinstance(inputs, list) and len(inputs) == 1:
            inputs = inputs[0]
        return super().__call__(inputs, **options)

    def rows(self, item: Any, options: Options, where: str) -> list[Row]:
        """A row for each window of the context."""
        if not isinstance(item, Mapping) or set(item) != {"question", "context"}:
            found = f"keys {', '.join(map(str, item))}" if isinstance(item, Mapping) else repr(item)
            raise ValueError(f"{where}: found {found}, expected {self.expects}")
        for name in ("question", "context"):
            if not isinstance(item[name], str) or not item[name].strip():
                raise ValueError(f"{where}.{name}: found {item[name]!r}, expected a text")
        size = options.max_seq_len or min(self.longest, WINDOW)
        stride = min(size // 2, STRIDE) if options.doc_stride is None else options.doc_stride
        if stride >= size:
            raise ValueError(f"doc_stride: {stride} is not less than max_seq_len {size}; lower it")
        side = 1 if self.text.padding_side == "right" else 0
        parts = (item["question"], item["context"])
        found = self.text(
            *(parts if side else parts[::-1]),
            truncation="only_second" if side else "only_first",
            max_length=size,
            stride=stride,
            return_overflowing_tokens=True,
        )
        self.check_length(len(found["input_ids"][0]), where)
        names = [k for k in ("input_ids", "token_type_ids") if k in found]
        return [
            Row(
                {k: found[k][i] for k in names},
                Window(found[i], np.array([s == side for s in found.sequence_ids(i)]), side),
            )
            for i in range(len(found["input_ids"]))
        ]

    def cut(self, name: str, x: np.ndarray, row: Row) -> np.ndarray:
        """Logits of tokens that are there."""
        return x[: row.length]

    def answer(self, item: Any, seen: Sequence[tuple[Row, dict]], options: Options) -> Any:
        """The best spans of all windows; spans of the same text add up."""
        count = options.top_k * 2 + 10 if options.align_to_words else options.top_k
        found: dict[str, dict[str, Any]] = {}
        null = 1.0
        for row, out in seen:
            window = row.info
            start, end = (self._likely(row, out[name]) for name in self.fields)
            null = min(null, float(start[0] * end[0]))
            spans = best(start, end, window.context, count, options.max_answer_len)
            for first, last, score in spans:
                at, to = characters(window, first, last, options.align_to_words)
                text = item["context"][at:to]
                answer = {"score": 0.0, "start": at, "end": to, "answer": text}
                found.setdefault(text.lower(), answer)["score"] += score
        answers = list(found.values())
        if options.handle_impossible_answer:
            answers.append({"score": null, "start": 0, "end": 0, "answer": ""})
        answers.sort(key=lambda one: -one["score"])
        return answers[0] if options.top_k == 1 else answers[: options.top_k]

    def _likely(self, row: Row, logits: np.ndarray) -> np.ndarray:
        """Probabilities over the context and the first special token, which means no answer."""
        ids, cls = row.inputs["input_ids"], self.text.cls_token_id
        open_ = row.info.context | (np.array(ids) == (-1 if cls is None else cls))
        return scores.softmax(np.where(open_, logits, np.float32(-10000.0)))


def best(
    start: np.ndarray, end: np.ndarray, context: np.ndarray, count: int, longest: int
) -> list[tuple[int, int, float]]:
    """The likeliest spans (first, last, probability) inside the context, the best first."""
    at = np.flatnonzero(context)
    joint = np.triu(np.outer(start[at], end[at]))
    joint = np.tril(joint, longest - 1)
    order = np.argsort(-joint, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, joint.shape), strict=True)
    return [
        (int(at[first]), int(at[last]), float(joint[first, last]))
        for first, last in pairs
        if first <= last < first + longest
    ]


def characters(window: Window, first: int, last: int, words: bool) -> tuple[int, int]:
    """Where a span of tokens stands in the context: first character, and the one after the last."""
    encoding, side = window.encoding, window.side
    at, to = encoding.offsets[first][0], encoding.offsets[last][1]
    if not words:
        return at, to
    spans = []
    for token in (first, last):
        word = encoding.token_to_word(token)
        spans.append(None if word is None else encoding.word_to_chars(word, side))
    if None in spans:
        return at, to
    return spans[0][0], spans[1][1]


def _asked(inputs: Any, question: Any, context: Any) -> Any:
    """`question=` and `context=` as the inputs that they mean.

    Raises:
      ValueError: one of them is missing, or their lists differ in length.
    """
    if inputs is not None or question is None or context is None:
        raise ValueError("question-answering: pass question= and context=, both, and nothing else")
    if isinstance(question, str):
        return {"question": question, "context": context}
    contexts = [context] * len(question) if isinstance(context, str) else context
    if len(contexts) != len(question):
        raise ValueError(
            f"question-answering: {len(question)} questions and {len(contexts)} contexts, expected "
            f"as many"
        )
    return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]
