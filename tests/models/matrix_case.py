"""A row of the matrix made real: the same random weights in transformers and in the zoo."""

import dataclasses
import functools
import itertools
import json
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.torch
import torch
import transformers
from families import BY_ID, FAMILIES
from matrix_rows import BATCH, LENGTH, Maker, Row, mask
from safetensors.numpy import load_file

import sharding
import zoo
from zoo import spec

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SCALES = (0.02, 0.3)
PROMPT, CHOICES = 8, 2
_folders = tempfile.TemporaryDirectory(prefix="matrix-")


def error(found: Any, reference: Any) -> float:
    """max |found - reference| / max |reference|, the gap itself beside zeros."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    assert found.shape == reference.shape, (found.shape, reference.shape)
    gap, size = np.abs(found - reference).max(), np.abs(reference).max()
    return float(gap / size if size else gap)


def seeded(name: str) -> np.random.Generator:
    """Randomness that depends on a name only."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def built(row: Row) -> torch.nn.Module:
    """The transformers model of a row, in float32 with eager attention."""
    config = transformers.AutoConfig.for_model(row.model_type, **row.config)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    return getattr(transformers, row.class_name)(config).eval().requires_grad_(True)


def drawn(model: torch.nn.Module, scale: float) -> torch.nn.Module:
    """Every parameter N(0, scale), those of norms N(1, scale): none is left as it began.

    Stored buffers too: variances above zero, counts any number.
    """
    drawn: dict[str, torch.Tensor] = dict(model.named_parameters())
    with torch.no_grad():
        for name, p in (drawn | buffers(model)).items():
            center = float(p.ndim == 1 and name.endswith("weight"))
            x = np.asarray(seeded(name).normal(center, scale, tuple(p.shape)))
            if not p.is_floating_point():
                x = np.asarray(zlib.crc32(name.encode()) >> 1)
            p.copy_(torch.from_numpy(np.exp(x) if name.endswith("running_var") else x))
    return model


def buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Buffers that are stored."""
    kept = model.state_dict().keys()
    return {name: x for name, x in model.named_buffers() if name in kept}


@dataclasses.dataclass(frozen=True)
class Case:
    """One row at one scale.

    Attributes:
      row: the row.
      folder: what transformers saved.
      reference: the transformers model.
      model: the zoo's, loaded from the folder.
    """

    row: Row
    folder: Path
    reference: torch.nn.Module
    model: zoo.Model


def write(row: Row, reference: torch.nn.Module, folder: Path) -> Path:
    """Saves as transformers does, the config in the spelling of the row."""
    reference.save_pretrained(folder)
    if row.as_written:
        raw = {**row.config, "model_type": row.model_type, "architectures": [row.class_name]}
        (folder / "config.json").write_text(json.dumps(raw))
    return folder


def folder(name: str) -> Path:
    """A place for files, replaced by whoever writes there next."""
    return Path(_folders.name) / name


@functools.lru_cache(maxsize=6)
def case(id: str, scale: float) -> Case:
    """The row `id` with weights of this scale."""
    row = BY_ID[id]
    reference = drawn(built(row), scale)
    at = write(row, reference, folder(f"{id}-{scale}"))
    return Case(row, at, reference, zoo.from_pretrained(at))


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Tensors of a folder by name."""
    return load_file(folder / "model.safetensors")


def same(x: np.ndarray, y: np.ndarray) -> bool:
    """Equal in dtype, shape and every bit."""
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a folder by name, also of dtypes that numpy does not have."""
    return safetensors.torch.load_file(folder / "model.safetensors")


def cast(source: Path, name: str, kinds: Sequence[torch.dtype]) -> Path:
    """The same folder with its tensors in these dtypes, in turn."""
    target = folder(name)
    target.mkdir(exist_ok=True)
    found = sorted(tensors(source).items())
    pairs = zip(found, itertools.cycle(kinds), strict=False)
    cast = {
        name: (x.to(kind) if x.is_floating_point() else x).contiguous() for (name, x), kind in pairs
    }
    safetensors.torch.save_file(cast, target / "model.safetensors")
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
    return target


def label(s: spec.ArraySpec) -> str:
    """The name of a declared array; the parts of a fused tensor are told apart."""
    third = s.part and ("query", "key", "value")[3 * s.part.start // s.part.total]
    return f"{s.name}:{third}" if third else s.name


DECODER = ("decoder_input_ids", "decoder_attention_mask")


def ragged(row: Row) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What a decoder continues, texts padded on the left, and what is beside them at first."""
    if own := FAMILIES[row.model_type].ragged:
        return own(seeded(row.id), row)
    rng, given = seeded(row.id), inputs(row)
    left = np.array([0, 3, 1, 6])[:, None]
    keep = (np.arange(LENGTH) >= left).astype(np.int32)
    ids = rng.integers(1, 99, (BATCH, LENGTH)).astype(np.int32)
    if "decoder_input_ids" in given:
        text = {"decoder_input_ids": ids}
        if "decoder_attention_mask" in given:
            text |= {"decoder_input_ids": ids * keep, "decoder_attention_mask": keep}
        return text, {k: x for k, x in given.items() if k not in DECODER}
    text = {"input_ids": ids * keep, "attention_mask": keep}
    if "position_ids" in case(row.id, SCALES[1]).model.forward.task.inputs:
        text["position_ids"] = np.maximum(np.cumsum(keep, axis=1) - 1, 0).astype(np.int32)
    return text, {}


def generated(one: Case, given: Mapping[str, np.ndarray]) -> np.ndarray:
    """Prompts and the tokens that transformers adds, greedily, none of which ends the text."""
    settings = one.reference.generation_config
    settings.eos_token_id, settings.pad_token_id = None, 0
    settings.forced_eos_token_id = None
    tensors = {
        name: torch.from_numpy(x.astype(np.int64) if x.dtype.kind == "i" else x)
        for name, x in given.items()
        if name != "position_ids"
    }
    return one.reference.generate(**tensors, **GREEDY).numpy()


GREEDY = {"do_sample": False, "max_new_tokens": LENGTH - PROMPT}


def mesh(row: Row) -> jax.sharding.Mesh:
    """Devices over which the sizes of a row divide."""
    heads = row.config.get("num_key_value_heads", 4)
    names = {4: "fsdp=2,tensor=4", 2: "data=2,fsdp=2,tensor=2"}
    return sharding.mesh(row.mesh or names[heads])


def inputs(row: Row) -> dict[str, np.ndarray]:
    """What the zoo's model of a row is called with."""
    rng = seeded(row.id)
    makers = MAKERS | FAMILIES[row.model_type].makers
    return {name.partition(":")[0]: makers[name](rng, row) for name in row.inputs}


def _lead(row: Row) -> tuple[int, ...]:
    choice = "Choice" in row.class_name or "Double" in row.class_name
    flat = any(name.endswith(":flat") for name in row.inputs)
    return (BATCH, CHOICES) if choice and not flat else (BATCH,)


def keep(row: Row) -> np.ndarray:
    """1 for tokens, 0 for padding, for every row of the batch and every choice."""
    lead = _lead(row)
    return np.broadcast_to(mask()[:, None] if len(lead) > 1 else mask(), (*lead, LENGTH)).copy()


def token_ids(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Random tokens, and padding where `keep` says so, if the config has a token for it."""
    kept = keep(row)
    x = rng.integers(0, row.config["vocab_size"], kept.shape)
    pad = row.config.get("pad_token_id")
    return x if pad is None else np.where(kept == 1, np.maximum(x, pad + 1), pad)


def _pairwise(rng: np.random.Generator, row: Row) -> np.ndarray:
    return np.maximum(rng.integers(0, 2, (BATCH, LENGTH, LENGTH)), np.eye(LENGTH, dtype=int))


def _vectors(rng: np.random.Generator, row: Row) -> np.ndarray:
    names = ("hidden_size", "n_embd", "d_model", "dim")
    width = next(row.config[name] for name in names if name in row.config)
    return rng.normal(0, 0.3, (*_lead(row), LENGTH, width)).astype(np.float32)


def _sides(row: Row) -> tuple[int, int]:
    side = row.config.get("image_size", (38, 45))
    return (side, side) if isinstance(side, int) else tuple(side)


def _hidden_patches(rng: np.random.Generator, row: Row) -> np.ndarray:
    side = row.config["image_size"] // row.config["patch_size"]
    return rng.integers(0, 2, (BATCH, side**2)).astype(bool)


def pixels(down: int = 0, across: int = 0) -> Maker:
    """Makes noise [B, C, H, W] of the config's size and so many pixels more."""

    def make(rng: np.random.Generator, row: Row) -> np.ndarray:
        height, width = _sides(row)
        shape = (BATCH, row.config.get("num_channels", 3), height + down, width + across)
        return rng.normal(0, 1, shape).astype(np.float32)

    return make


MAKERS: dict[str, Maker] = {
    "input_ids": token_ids,
    "input_ids:flat": token_ids,
    "input_ids:single": lambda rng, row: rng.integers(0, row.config["vocab_size"], (1, LENGTH)),
    "decoder_input_ids": token_ids,
    "attention_mask": lambda rng, row: keep(row),
    "attention_mask:flat": lambda rng, row: keep(row),
    "attention_mask:pairwise": _pairwise,
    "attention_mask:patches": lambda rng, row: np.maximum(
        rng.integers(0, 2, (BATCH, 10)), np.eye(1, 10, dtype=int)),
    "decoder_attention_mask": lambda rng, row: keep(row),
    "token_type_ids": lambda rng, row: rng.integers(
        0, row.config.get("type_vocab_size", 100) or 2, keep(row).shape),
    "position_ids": lambda rng, row: np.arange(LENGTH) + 3 * np.arange(BATCH)[:, None],
    "mc_token_ids": lambda rng, row: rng.integers(0, LENGTH, _lead(row)),
    "mc_token_ids:flat": lambda rng, row: rng.integers(0, LENGTH, _lead(row)),
    "inputs_embeds": _vectors,
    "decoder_inputs_embeds": _vectors,
    "encoder_outputs": _vectors,
    "encoder_hidden_states": _vectors,
    "encoder_attention_mask": lambda rng, row: keep(row)[::-1].copy(),
    "pixel_values": pixels(),
    "pixel_values:larger": pixels(9, 4),
    "pixel_values:smaller": pixels(-4, 0),
    "pixel_values:wider": pixels(4, 8),
    "bool_masked_pos": _hidden_patches,
}  # fmt: skip


def refer(row: Row, reference: torch.nn.Module, given: Mapping[str, np.ndarray], **flags: Any):
    """The output of transformers for the inputs of the zoo."""
    tensors = {
        name: torch.from_numpy(x.astype(np.int64) if x.dtype.kind == "i" else x)
        for name, x in given.items()
    }
    if "encoder_outputs" in tensors:
        tensors["encoder_outputs"] = (tensors["encoder_outputs"],)
    pairwise = tensors.get("attention_mask")
    if pairwise is not None and pairwise.ndim == 3 and "attention_mask:pairwise" in row.inputs:
        least = torch.finfo(torch.float32).min
        tensors["attention_mask"] = torch.where(pairwise[:, None] == 1, 0.0, least)
    return reference(**tensors, **dict(row.flags), **flags)


def refer_exactly(one: Case, given: Mapping[str, np.ndarray], **flags: Any):
    """The same in float64, softmax too, for which eager attention asks for float32."""
    wide = {k: x.astype(np.float64) if x.dtype == np.float32 else x for k, x in given.items()}
    softmax = lambda x, dim=None, dtype=None: torch.softmax(x, dim)  # noqa: E731
    exact = mock.patch.object(torch.nn.functional, "softmax", softmax)
    with torch.no_grad(), exact:
        out = refer(one.row, one.reference.double(), wide, **flags)
    one.reference.float()
    return out


def fields(out: zoo.outputs.Output) -> dict[str, Any]:
    """Arrays of an output by name, without caches, states and statistics; `name.0` of several."""
    found = {}
    for name in out.keys():
        if not name.endswith(("cache", "hidden_states", "batch_stats")):
            for path, x in jax.tree.flatten_with_path(out[name])[0]:
                found[
                    ".".join((name, *(jax.tree_util.keystr((k,), simple=True) for k in path)))
                ] = x
    return found


def pick(out: Any, name: str) -> Any:
    """The array of an output of transformers that `fields` calls `name`."""
    for part in name.split("."):
        out = out[int(part) if part.isdigit() else part]
    return out


def inner(out: zoo.outputs.Output) -> dict[str, tuple[Any, ...]]:
    """Inner states of an output by name, one array per layer."""
    return {name: out[name] for name in out.keys() if name.endswith("hidden_states")}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The random linear functional whose gradient is compared, padding and all."""
    return seeded(name).normal(size=shape).astype(np.float32)


def trained_on(row: Row) -> dict[str, np.ndarray]:
    """Inputs for gradients."""
    given = inputs(row)
    return {k: x if x.dtype.kind in "bf" else x.astype(np.int32) for k, x in given.items()}


@functools.lru_cache(maxsize=2)
def _gradient(id: str) -> Any:
    row = BY_ID[id]
    model = case(id, SCALES[0]).model

    given = trained_on(row)

    def functional(trained: Any, buffers: Any) -> jax.Array:
        params = spec.merge(trained, buffers)
        out = fields(model.apply(params, **given, **dict(row.flags)))
        return sum(jnp.vdot(weight(name, x.shape), x) for name, x in out.items())

    return jax.jit(jax.grad(functional))


@functools.lru_cache(maxsize=4)
def gradients(id: str, scale: float) -> Any:
    """Gradients of the parameters in the zoo, a tree like them, with None for buffers."""
    one = case(id, scale)
    halves = spec.split(one.model.specs, one.model.params)
    return jax.tree.map(np.asarray, _gradient(id)(*halves))


@functools.lru_cache(maxsize=4)
def reference_gradients(id: str, scale: float) -> dict[str, np.ndarray]:
    """The same from torch, under the names of the file: saved as if they were weights."""
    one = case(id, scale)
    given = trained_on(one.row)
    out = refer(one.row, one.reference, given)
    run = functools.partial(one.model.apply, **given, **dict(one.row.flags))
    names = fields(jax.eval_shape(run, one.model.params))
    kept = {name for s in spec.leaves(one.model.specs) if s.buffer for name in s.names}
    one.reference.zero_grad()
    weights = {name: torch.from_numpy(weight(name, x.shape)) for name, x in names.items()}
    sum((pick(out, name) * x).sum() for name, x in weights.items()).backward()
    twin = built(one.row)
    grads = {n: p.grad for n, p in one.reference.named_parameters()}
    with torch.no_grad():
        for name, p in twin.named_parameters():
            p.copy_(torch.zeros_like(p) if grads[name] is None else grads[name])
    one.reference.zero_grad()
    with tempfile.TemporaryDirectory() as folder:
        twin.save_pretrained(folder)
        return {name: x for name, x in stored(Path(folder)).items() if name not in kept}
