"""`zoo run`: inputs to answers."""

import itertools
import json as json_
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from bridges import config as configs
from bridges import hub
from zoo import registry
from zoo.cli import answers
from zoo.cli.app import Settings, UsageError
from zoo.cli.console import dump, err, out
from zoo.pipelines.load import known, model_tasks, pipeline, pipeline_class

DEFAULTS = {
    "text-classification": {"top_k": 5},
    "token-classification": {"aggregation_strategy": "simple"},
}


class Asked(NamedTuple):
    """What the command line says about the task."""

    task: str | None
    pair: str | None
    context: str | None
    choices: tuple[str, ...]
    top_k: int | None
    max_new_tokens: int | None
    options: tuple[str, ...]


def show(
    model: str,
    inputs: Sequence[str],
    asked: Asked,
    settings: Settings,
    dtype: str | None,
    batch_size: int,
    json: bool,
) -> None:
    """Answers every input as it comes.

    Raises:
      UsageError: options that the task does not have, or that it lacks.
    """
    task = known(asked.task) if asked.task else of_config(model, settings)
    if batch_size < 1:
        raise UsageError(f"--batch-size: found {batch_size}, expected at least 1")
    options = DEFAULTS.get(task, {}) | chosen(task, asked)
    check(task, asked)
    slow = "-" in inputs and sys.stdin.isatty()
    pipe = pipeline(
        asked.task or task,  # which may name languages
        model,
        dtype=dtype,
        batch_size=1 if slow else batch_size,
        **settings.where,  # pyright: ignore[reportArgumentType]
    )
    sentences = task == "feature-extraction" and pipe.model.forward.pooling is not None
    if sentences and "pool" not in options:
        options = {"return_sentence": True} | options
    console = out()
    alone = len(inputs) == 1 and inputs[0] != "-"
    streams = hasattr(pipe.options, "on_text") and not options.get("return_tensors")
    if streams and alone and not json:
        answers.stream(pipe, next(items(task, inputs, asked)), options, console)
        return
    kept, whole = itertools.tee(items(task, inputs, asked))
    shown = answers.Shown(task, console, alone, pipe.model)
    pairs = zip(kept, pipe(whole, **options), strict=False)
    with nullcontext() if slow else err().status("Running"):
        first = list(itertools.islice(pairs, 1))
    for item, answer in itertools.chain(first, pairs):
        if json:
            dump({"input": item, "answer": answer}, lines=True)
        else:
            shown.add(item, answer)
    if not json:
        shown.close()


def of_config(model: str, settings: Settings) -> str:
    """The pipeline of what a model is for.

    Raises:
      KeyError: an architecture that is not supported, or a task without a pipeline.
    """
    folder = hub.snapshot(model, ["config.json"], progress=False, **settings.where)  # pyright: ignore[reportArgumentType]
    raw = configs.read(folder)
    if "model_type" not in raw:
        raise KeyError(f"{folder / 'config.json'}: has no model_type; say what to do with --task")
    arch = registry.architecture(raw["model_type"])
    task = registry.choose(arch, raw.get("architectures") or (), None).task.name
    runs = model_tasks()
    if task not in runs:
        has = (runs[t.name] for t in arch.tasks.values() if t.name in runs)
        raise KeyError(
            f"task: {model} is for {task}, which answers nothing by itself; say --task with one of "
            f"{', '.join(dict.fromkeys(has))}"
        )
    return runs[task]


def chosen(task: str, asked: Asked) -> dict[str, Any]:
    """Options of the pipeline, as the command line gives them.

    Raises:
      UsageError: one that the task does not have.
      ValueError: a value that makes no sense.
    """
    kind = pipeline_class(task)
    given: dict[str, Any] = {}
    for text in asked.options:
        name, mark, value = text.partition("=")
        if not mark:
            raise UsageError(f"--option {text}: expected NAME=VALUE")
        try:
            given[name.strip()] = json_.loads(value)
        except ValueError:
            given[name.strip()] = value
    if task == "zero-shot-image-classification":
        given["candidate_labels"] = list(asked.choices)
    for name in ("top_k", "max_new_tokens"):
        if getattr(asked, name) is not None:
            given[name] = getattr(asked, name)
    try:
        kind.choose(kind.takes(), given)
    except TypeError as error:
        raise UsageError(str(error)) from error
    return given


def check(task: str, asked: Asked) -> None:
    """Sees to it that a task has the texts that it needs, and no others.

    Raises:
      UsageError: it has not.
    """
    needs = {
        "image-text-to-text": "pair",
        "multiple-choice": "choices",
        "next-sentence": "pair",
        "question-answering": "context",
        "zero-shot-image-classification": "choices",
    }
    for name in ("pair", "context", "choices"):
        given, needed = bool(getattr(asked, name)), needs.get(task) == name
        if needed and not given:
            raise UsageError(f"--{name}: {task} needs it")
        if given and not needed and not (name == "pair" and task == "text-classification"):
            raise UsageError(f"--{name}: {task} does not take it")


def items(task: str, inputs: Sequence[str], asked: Asked) -> Iterator[Any]:
    """Inputs as the pipeline takes them; `-` stands for the lines of stdin."""
    for text in inputs:
        for one in _lines() if text == "-" else (text,):
            if task == "question-answering":
                yield {"question": one, "context": asked.context}
            elif task == "multiple-choice":
                yield {"text": one, "choices": list(asked.choices)}
            elif task == "image-text-to-text":
                yield {"images": one, "text": asked.pair}
            elif asked.pair is not None:
                yield {"text": one, "text_pair": asked.pair}
            else:
                yield one


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if text := line.strip():
            yield text
