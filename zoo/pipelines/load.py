"""pipeline(): from a task's name and a model to the pipeline that answers."""

import difflib
import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import loading
from zoo.model import Model
from zoo.processors import FeatureExtractor, ImageProcessor, ImageTextProcessor
from zoo.tokenizers import Tokenizer

if TYPE_CHECKING:
    from zoo.pipelines.run import Pipeline

# Name of a task -> module and class; `model_tasks` says which models it takes.
TASKS = {
    "feature-extraction": ("feature_extraction", "FeatureExtraction"),
    "fill-mask": ("fill_mask", "FillMask"),
    "text-classification": ("text_classification", "TextClassification"),
    "token-classification": ("token_classification", "TokenClassification"),
    "question-answering": ("question_answering", "QuestionAnswering"),
    "multiple-choice": ("multiple_choice", "MultipleChoice"),
    "next-sentence": ("next_sentence", "NextSentence"),
    "text-generation": ("text_generation", "TextGeneration"),
    "summarization": ("text2text", "Summarization"),
    "translation": ("text2text", "Translation"),
    "text2text-generation": ("text2text", "Text2TextGeneration"),  # the last names its models' own
    "image-classification": ("image_classification", "ImageClassification"),
    "image-text-to-text": ("image_text_to_text", "ImageTextToText"),
    "object-detection": ("object_detection", "ObjectDetection"),
    "image-segmentation": ("image_segmentation", "ImageSegmentation"),
    "zero-shot-image-classification": (
        "zero_shot_image_classification", "ZeroShotImageClassification",
    ),
    "automatic-speech-recognition": ("speech_recognition", "SpeechRecognition"),
    "audio-classification": ("audio_classification", "AudioClassification"),
}  # fmt: skip
ALIASES = {
    "causal-lm": "text-generation",
    "image-feature-extraction": "feature-extraction",
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
    "seq2seq-lm": "text2text-generation",
}
LANGUAGES = re.compile(r"translation_(\w+?)_to_(\w+)")


def pipeline(
    task: str | None = None,
    model: Model | str | os.PathLike | None = None,
    *,
    tokenizer: Tokenizer | str | os.PathLike | None = None,
    image_processor: ImageProcessor | str | os.PathLike | None = None,
    processor: ImageTextProcessor | str | os.PathLike | None = None,
    feature_extractor: FeatureExtractor | str | os.PathLike | None = None,
    dtype: Any = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
    mesh: Any = None,
    rules: Any = None,
    layers: str = "loop",
    batch_size: int = 8,
    **options: Any,
) -> "Pipeline":
    """A function from texts, images or recordings to answers.

    Args:
      task: a key of `TASKS`, or another name that transformers has for one; that of the model if
        None.
      model: a model, or the folder or repository of one.
      tokenizer: what to use in place of the model's own.
      image_processor: what to use in place of the model's own.
      processor: of texts with images, likewise.
      feature_extractor: what to use in place of the model's own.
      dtype: of the parameters, as in `from_pretrained`, like the arguments that follow.
      revision: branch, tag or commit.
      token: of the Hub.
      cache_dir: of downloads.
      local_files_only: never touch the network.
      mesh: devices to spread the parameters over.
      rules: logical axes -> mesh axes.
      layers: "loop" or "stacked".
      batch_size: rows that run at once.
      **options: of the task, such as `top_k=3`; defaults that every call may replace.

    Raises:
      KeyError: an unknown task, or one that the model does not have.
      TypeError: an option that the task does not have.
      ValueError: no model, a model of another task, or one without tokenizer.
    """
    name = None if task is None else known(task)
    if languages := LANGUAGES.fullmatch(task or ""):
        options = {"src_lang": languages[1], "tgt_lang": languages[2], **options}
    if model is None:
        raise ValueError(
            f"model: found None, expected a model, a folder or a repository; there is no default "
            f"for {task or 'a pipeline'}"
        )
    if not isinstance(model, Model):
        model = loading.from_pretrained(
            model,
            task=None if name is None else pipeline_class(name).serves,
            dtype=dtype,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            mesh=mesh,
            rules=rules,
            layers=layers,
        )
    where: dict[str, Any] = {
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
    }
    kind, takes = pipeline_class(name or known(model.task)), model.forward.task.inputs
    parts: dict[str, Any] = {}
    if kind.pairs:
        parts["processor"] = _own(ImageTextProcessor, processor, model, where)
        parts["tokenizer"] = tokenizer and _own(Tokenizer, tokenizer, model, where)
    else:
        if "pixel_values" in takes:
            parts["image_processor"] = _own(_images(model), image_processor, model, where)
        if "pixel_values" not in takes or "input_ids" in takes:
            parts["tokenizer"] = _own(Tokenizer, tokenizer, model, where)
    if {"input_values", "input_features"} & set(takes):
        parts["feature_extractor"] = _own(FeatureExtractor, feature_extractor, model, where)
    return kind(model, **parts, batch_size=batch_size, **options)


def known(task: str) -> str:
    """The name in `TASKS` of a task that may have another one.

    Raises:
      KeyError: there is no such task.
    """
    name = "translation" if LANGUAGES.fullmatch(str(task)) else ALIASES.get(task, task)
    if name not in TASKS:
        near = difflib.get_close_matches(str(task), [*TASKS, *ALIASES], n=3, cutoff=0.6)
        hint = f"nearest: {', '.join(near)}" if near else f"it is one of {', '.join(TASKS)}"
        raise KeyError(f"task: no pipeline for {task!r}; {hint}")
    return name


def model_tasks() -> dict[str, str]:
    """Task of a model -> name of its pipeline."""
    return {pipeline_class(name).serves: name for name in TASKS}


def pipeline_class(name: str) -> "type[Pipeline]":
    """The class of a key of `TASKS`; opens its file."""
    module, cls = TASKS[name]
    return getattr(importlib.import_module(f"zoo.pipelines.{module}"), cls)


def _images(model: Model) -> Any:
    """The class of processor for the images of a model."""
    if model.task not in ("image-segmentation", "object-detection"):
        return ImageProcessor
    from zoo.processors.detection import DetectionProcessor

    return DetectionProcessor


def _own(kind: Any, given: Any, model: Model, where: dict[str, Any]) -> Any:
    """What was given, or read from where the model came from; None where that has none."""
    if given is not None and not isinstance(given, str | os.PathLike):
        return given
    if given is not None:
        return kind.from_pretrained(given, **where)
    folder = model.origin.folder
    if not folder or not Path(folder).is_dir():
        return None
    try:
        return kind.from_pretrained(folder)
    except FileNotFoundError:
        return None
