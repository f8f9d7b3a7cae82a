"""Answers of a pipeline, as a person likes to read them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from zoo.cli.console import DIM, NAME, NUMBER, err, meter, table

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
RIGHT = {"justify": "right", "no_wrap": True}
MATRIX = 9  # sentences at most in a table of similarities


def stream(pipe: Any, item: Any, options: Mapping[str, Any], console: Console) -> None:
    """Shows a generated text while it is written."""
    full = getattr(pipe.options, "return_full_text", False)
    before = [item] if isinstance(item, str) and options.get("return_full_text", full) else []

    waiting = err().status("Running")

    def piece(part: str) -> None:
        waiting.stop()
        while before:
            console.print(Text(before.pop(), DIM), end="", soft_wrap=True)
        console.print(Text(part), end="", soft_wrap=True)

    with waiting:
        pipe(item, on_text=piece, **options)
    piece("")
    console.print()


class Shown:
    """Shows answers one after the other."""

    def __init__(self, task: str, console: Console, alone: bool, model: Any):
        """`alone` leaves out what tells several inputs apart."""
        self.task, self.console, self.alone, self.model = task, console, alone, model
        self.show = getattr(self, "_" + task.replace("-", "_"))
        self.count = 0
        self.sentences: list[tuple[str, np.ndarray]] = []

    def add(self, item: Any, answer: Any) -> None:
        """Shows the answer to one input."""
        if not self.alone:
            if self.count:
                self.console.print()
            self.console.print(Text(_title(item), "bold"))
        self.count += 1
        self.show(item, answer)

    def close(self) -> None:
        """Shows what several inputs have to do with each other."""
        if 2 <= len(self.sentences) <= MATRIX:
            self.console.print()
            self._similarities()

    def _scores(self, answer: Any, *columns: tuple[str, str]) -> None:
        rows = answer if isinstance(answer, list) else [answer]
        bars = all(0 <= row["score"] <= 1 for row in rows)
        headings = [(heading, {"overflow": "fold"}) for _, heading in columns]
        grid = table(("score", RIGHT), *([""] if bars else []), *headings)
        for row in rows:
            first, *rest = (str(row[key]) for key, _ in columns)
            bar = [meter(row["score"])] if bars else []
            grid.add_row(f"{row['score']:.4f}", *bar, Text(first, NAME), *(Text(x) for x in rest))
        self.console.print(grid)

    def _text_classification(self, item: Any, answer: Any) -> None:
        self._scores(answer, ("label", "label"))

    _audio_classification = _text_classification
    _image_classification = _text_classification
    _next_sentence = _text_classification
    _zero_shot_image_classification = _text_classification

    def _object_detection(self, item: Any, answer: Any) -> None:
        if not answer:
            self.console.print(Text("nothing found", DIM))
            return
        corners = ("xmin", "ymin", "xmax", "ymax")
        places = [", ".join(f"{round(row['box'][k])}" for k in corners) for row in answer]
        rows = [row | {"box": place} for row, place in zip(answer, places, strict=True)]
        self._scores(rows, ("label", "label"), ("box", "left, top, right, bottom"))

    def _image_segmentation(self, item: Any, answer: Any) -> None:
        shares = [f"{(np.asarray(row['mask']) > 0).mean():.1%}" for row in answer]
        grid = table("label", ("of the image", RIGHT), ("score", RIGHT))
        for row, share in zip(answer, shares, strict=True):
            score = "" if row.get("score") is None else f"{row['score']:.4f}"
            grid.add_row(Text(row["label"], NAME), share, score)
        self.console.print(grid)

    def _automatic_speech_recognition(self, item: Any, answer: Any) -> None:
        self.console.print(Text(answer["text"].strip()), soft_wrap=True)
        for part in answer.get("chunks", ()):
            start, end = ("" if x is None else f"{x:.2f}" for x in part["timestamp"])
            self.console.print(Text(f"{start:>8} {end:>8}  ", DIM) + Text(part["text"].strip()))

    def _multiple_choice(self, item: Any, answer: Any) -> None:
        self._scores(answer, ("choice", "choice"))

    def _fill_mask(self, item: Any, answer: Any) -> None:
        several = bool(answer) and isinstance(answer[0], list)
        for i, one in enumerate(answer if several else [answer]):
            if several:
                self.console.print(Text(f"mask {i + 1}", DIM))
            self._scores(one, ("token_str", "token"), ("sequence", "text"))

    def _question_answering(self, item: Any, answer: Any) -> None:
        rows = answer if isinstance(answer, list) else [answer]
        if not rows:
            self.console.print(Text("no answer", DIM))
            return
        self._scores([row | {"answer": row["answer"] or "—"} for row in rows], ("answer", "answer"))
        best, context = rows[0], item["context"]
        start, end = max(0, best["start"] - 120), min(len(context), best["end"] + 120)
        quoted = Text("…" if start else "", DIM)
        quoted.append(context[start : best["start"]], DIM)
        quoted.append(context[best["start"] : best["end"]], f"bold {NUMBER}")
        quoted.append(context[best["end"] : end] + ("…" if end < len(context) else ""), DIM)
        self.console.print()
        self.console.print(quoted)

    def _token_classification(self, item: Any, answer: Any) -> None:
        if not answer:
            self.console.print(Text("no entities", DIM))
            return
        key = "entity_group" if "entity_group" in answer[0] else "entity"
        names = list(dict.fromkeys(row[key] for row in answer))
        colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
        marked = Text(item)
        for row in answer:
            marked.stylize(f"bold {colour[row[key]]}", row["start"], row["end"])
        self.console.print(marked)
        self.console.print()
        grid = table("text", "label", ("score", RIGHT), ("characters", RIGHT))
        for row in answer:
            grid.add_row(
                Text(item[row["start"] : row["end"]]),
                Text(row[key], colour[row[key]]),
                f"{row['score']:.4f}",
                Text(f"{row['start']}-{row['end']}", DIM),
            )
        self.console.print(grid)

    def _text_generation(self, item: Any, answer: Any) -> None:
        for row in answer:
            text = row.get("generated_text", next(iter(row.values())))
            self.console.print(Text(str(text)), soft_wrap=True)

    _image_text_to_text = _text_generation
    _summarization = _text2text_generation = _translation = _text_generation

    def _feature_extraction(self, item: Any, answer: Any) -> None:
        found = np.asarray(answer)
        if found.ndim == 1:
            self.sentences.append((item, found))
        vectors = found.reshape(-1, found.shape[-1])
        many, size = vectors.shape
        what = "vector" if many == 1 else f"{many} vectors"
        first = "  ".join(f"{x:+.4f}" for x in vectors[0, :4])
        norm = np.linalg.norm(vectors, axis=-1).mean()
        self.console.print(
            Text.assemble(
                (f"{what} of {size}", NAME), (f"  length {norm:.3f}  ", DIM), first, ("  …", DIM)
            )
        )

    def _similarities(self) -> None:
        vectors = np.stack([vector for _, vector in self.sentences])
        vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        close = vectors @ vectors.T
        numbers = range(1, len(vectors) + 1)
        wide = ("cosine similarity", {"no_wrap": True, "overflow": "ellipsis", "ratio": 1})
        grid = table(("", RIGHT), wide, *((str(i), RIGHT) for i in numbers))
        for i, (text, _) in enumerate(self.sentences):
            order = np.argsort(-close[i])
            best = next((j for j in order if j != i), i)
            cells = [
                Text(f"{close[i, j]:.2f}", f"bold {NUMBER}" if j == best else DIM if j == i else "")
                for j in range(len(vectors))
            ]
            grid.add_row(Text(str(i + 1), DIM), Text(text), *cells)
        self.console.print(grid)


def _title(item: Any) -> str:
    if isinstance(item, Mapping):
        parts = (item.get(name) for name in ("question", "images", "text", "text_pair"))
        return "  +  ".join(part for part in parts if part)
    return str(item)
