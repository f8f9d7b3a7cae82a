"""From `config.json` to an architecture and a task. Architectures are imported when asked for."""

import difflib
import importlib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zoo.errors import UnknownNameError
from zoo.tasks import NAMES, Task

MODULES = {
    "bart": "zoo.models.bart",
    "bert": "zoo.models.bert",
    "bloom": "zoo.models.bloom",
    "clip": "zoo.models.clip",
    "clip_text_model": "zoo.models.clip_text_model",
    "clip_vision_model": "zoo.models.clip_vision_model",
    "deberta-v2": "zoo.models.deberta_v2",
    "deepseek_v3": "zoo.models.deepseek_v3",
    "detr": "zoo.models.detr",
    "dinov2": "zoo.models.dinov2",
    "distilbert": "zoo.models.distilbert",
    "gemma2": "zoo.models.gemma2",
    "gemma3_text": "zoo.models.gemma3_text",
    "gpt2": "zoo.models.gpt2",
    "gpt_neox": "zoo.models.gpt_neox",
    "gpt_oss": "zoo.models.gpt_oss",
    "llama": "zoo.models.llama",
    "llava": "zoo.models.llava",
    "mamba2": "zoo.models.mamba2",
    "mistral": "zoo.models.mistral",
    "mixtral": "zoo.models.mixtral",
    "modernbert": "zoo.models.modernbert",
    "mpnet": "zoo.models.mpnet",
    "mt5": "zoo.models.mt5",
    "phi3": "zoo.models.phi3",
    "qwen2": "zoo.models.qwen2",
    "qwen2_5_vl": "zoo.models.qwen2_5_vl",
    "qwen2_vl": "zoo.models.qwen2_vl",
    "qwen3": "zoo.models.qwen3",
    "qwen3_moe": "zoo.models.qwen3_moe",
    "resnet": "zoo.models.resnet",
    "roberta": "zoo.models.roberta",
    "swin": "zoo.models.swin",
    "t5": "zoo.models.t5",
    "umt5": "zoo.models.umt5",
    "vit": "zoo.models.vit",
    "wav2vec2": "zoo.models.wav2vec2",
    "whisper": "zoo.models.whisper",
    "xlm-roberta": "zoo.models.xlm_roberta",
}


class Architecture(NamedTuple):
    """One architecture file, opened.

    Attributes:
      model_type: its name in `config.json`.
      module: the module, which holds `Config`, `TASKS` and, for decoders, `cache_specs`.
    """

    model_type: str
    module: Any

    @property
    def config(self) -> type:
        """The dataclass of what changes the arithmetic."""
        return self.module.Config

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Hub class name -> task."""
        return self.module.TASKS


def architecture(model_type: str) -> Architecture:
    """Opens the file of a `model_type`.

    Raises:
      KeyError: no such architecture here; the message lists the nearest.
    """
    if not isinstance(model_type, str) or model_type not in MODULES:
        name = reprlib.repr(model_type)
        near = difflib.get_close_matches(name.strip("'"), MODULES, n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(MODULES)}"
        raise UnknownNameError(f"model_type: {name} is not supported; {hint}; see `zoo list`")
    return Architecture(model_type, importlib.import_module(MODULES[model_type]))


class Part(NamedTuple):
    """The config of one architecture inside that of another, such as `text_config`.

    Attributes:
      model_type: of the inner architecture.
      config: its Config.
    """

    model_type: str
    config: Any

    @property
    def architecture(self) -> Architecture:
        """The inner architecture."""
        return architecture(self.model_type)

    @property
    def module(self) -> Any:
        """Its file."""
        return self.architecture.module


def part(model_type: str, **fields: Any) -> Part:
    """A part with the defaults of its architecture, but for the fields given."""
    return Part(model_type, architecture(model_type).config(**fields))


class Choice(NamedTuple):
    """A task of an architecture and the Hub class that stands for it."""

    class_name: str
    task: Task


def choose(arch: Architecture, classes: Sequence[str], task: str | None) -> Choice:
    """Finds the class for a task or, without a task, the first of the config's `architectures`.

    Raises:
      KeyError: the architecture does not have the task, or does not know the class.
    """
    if task is None:
        known = [name for name in classes if name in arch.tasks]
        if not known and classes:
            raise UnknownNameError(
                f"architectures: {', '.join(map(reprlib.repr, classes[:3]))} is not known of "
                f"{arch.model_type}, which has {', '.join(arch.tasks)}; say which task= you want"
            )
        name = known[0] if known else next(iter(arch.tasks))
        return Choice(name, arch.tasks[name])
    if not isinstance(task, str) or task not in NAMES:
        near = difflib.get_close_matches(str(task), NAMES, n=3, cutoff=0.4) or list(NAMES)
        raise UnknownNameError(f"task: {task!r} is not known; nearest: {', '.join(near)}")
    fitting = [name for name, t in arch.tasks.items() if t.name == task]
    if not fitting:
        has = ", ".join(sorted({t.name for t in arch.tasks.values()}))
        raise UnknownNameError(f"task: {arch.model_type} has no {task!r}; it has {has}")
    name = next((name for name in classes if name in fitting), fitting[0])
    return Choice(name, arch.tasks[name])
