"""`zoo info`: what a model is, told by its config alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from bridges import config as configs
from bridges import hub
from bridges.repository import licence, pooling
from zoo import registry, spec
from zoo.cli.app import Settings
from zoo.cli.console import DIM, NAME, NUMBER, dump, facts, millions, out, size, table
from zoo.pipelines.load import model_tasks

FILES = (
    "config.json",
    "modules.json",
    "[0-9]_*/config.json",
    "README.md",
    "LICENSE*",
    "LICENCE*",
)
WIDTHS = {"float32": 4, "bfloat16": 2, "int8": 1}
STORED = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
CONTEXT = ("max_position_embeddings", "n_positions")


def show(model: str, settings: Settings, json: bool) -> None:
    """Shows what is known of a model."""
    folder = hub.snapshot(model, FILES, progress=False, **settings.where)  # pyright: ignore[reportArgumentType]
    found = describe(folder, model)
    if json:
        dump(found)
        return
    console, runs = out(), model_tasks()
    tasks = Text(", ").join(
        Text(runs.get(task) or task, NAME if task == found["task"] else "")
        for task in dict.fromkeys((found["task"], *found["tasks"]))
    )
    count = found["parameters"]
    stored = found["dtype"]
    held = f", {size(count * STORED[stored])} in {stored}" if stored in STORED else ""
    console.print(
        facts(
            [
                ("model", Text(model, "bold")),
                ("class", f"{found['class']} ({found['model_type']})"),
                ("task", runs.get(found["task"], found["task"])),
                ("tasks", tasks),
                ("parameters", f"{millions(count)} ({count:,}){held}"),
                ("context", found["context_length"] and f"{found['context_length']:,} tokens"),
                ("vocabulary", found["vocabulary"] and f"{found['vocabulary']:,} tokens"),
                ("image", found["image_size"]),
                ("labels", _labels(found["labels"])),
                ("sentences", found["pooling"]),
                ("licence", found["licence"] or "not stated"),
                ("commit", found["commit"]),
            ]
        )
    )
    parts = table(
        "part", ("parameters", {"justify": "right"}), ("share", {"justify": "right"}), "largest"
    )
    for part in found["parts"]:
        indent = "  " if "." in part["name"] else ""
        parts.add_row(
            Text(indent + part["name"].rpartition(".")[2], "" if indent else NAME),
            Text(f"{part['parameters']:,}", "" if indent else NUMBER),
            Text(f"{part['parameters'] / max(count, 1):.1%}", DIM if indent else ""),
            Text(part["largest"], DIM),
        )
    console.print()
    console.print(parts)
    memory = table("as", *((name, {"justify": "right"}) for name in found["bytes"]))
    memory.add_row("parameters", *(size(x) for x in found["bytes"].values()))
    console.print()
    console.print(memory)


def describe(folder: Path, model: str) -> dict[str, Any]:
    """Everything that is shown, as plain values.

    Raises:
      KeyError: the architecture is not supported.
      ValueError: a key of the config that is not understood.
    """
    raw = configs.read(folder)
    where = str(folder / "config.json")
    if "model_type" not in raw:
        raise KeyError(f"{where}: has no model_type; add it, one of {', '.join(registry.MODULES)}")
    arch = registry.architecture(raw["model_type"])
    classes = raw.get("architectures") or []
    chosen = registry.choose(arch, classes, None)
    config = configs.parse(arch, raw, where=where)
    specs = chosen.task.specs(config)
    count = spec.count(specs)
    pooled = pooling(folder)
    stored = raw.get("dtype") or raw.get("torch_dtype")
    image = getattr(config, "image_size", None)
    return {
        "model": model,
        "class": chosen.class_name,
        "model_type": arch.model_type,
        "task": chosen.task.name,
        "tasks": list(dict.fromkeys(task.name for task in arch.tasks.values())),
        "parameters": count,
        "dtype": str(stored).removeprefix("torch.") if stored else None,
        "bytes": {name: count * width for name, width in WIDTHS.items()},
        "context_length": next((getattr(config, n) for n in CONTEXT if hasattr(config, n)), None),
        "vocabulary": getattr(config, "vocab_size", None),
        "image_size": None if image is None else " x ".join(map(str, _pair(image))),
        "labels": _names(raw, config, chosen.task.name),
        "pooling": pooled
        and " and ".join(pooled.modes) + (", normalised" if pooled.normalize else ""),
        "licence": licence(folder),
        "commit": hub.commit_of(folder),
        "parts": list(parts(specs)),
    }


def parts(specs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Parameters of each part, and within the layers of each part of a layer."""
    for name, tree in specs.items():
        yield _part(f"{name} x {len(tree)}" if _is_layers(tree) else name, tree)
        if _is_layers(tree):
            for inner in dict.fromkeys(key for layer in tree for key in layer):
                yield _part(f"{name}.{inner}", [layer[inner] for layer in tree if inner in layer])
        elif isinstance(tree, Mapping) and name == "embed":
            for inner, branch in tree.items():
                yield _part(f"{name}.{inner}", branch)


def _part(name: str, tree: Any) -> dict[str, Any]:
    leaves = spec.leaves(tree)
    largest = max(leaves, key=lambda s: s.size, default=None)
    shape = " x ".join(map(str, largest.shape)) if largest else ""
    return {"name": name, "parameters": spec.count(tree), "largest": shape}


def _is_layers(tree: Any) -> bool:
    return isinstance(tree, tuple | list) and all(isinstance(x, Mapping) for x in tree)


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _names(raw: Mapping[str, Any], config: Any, task: str) -> list[str]:
    if "classification" not in task:
        return []
    names = raw.get("id2label") or {}
    count = getattr(config, "num_labels", 0)
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(count)]


def _labels(names: list[str]) -> str:
    shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    return f"{len(names)}: {shown}" if names else ""
