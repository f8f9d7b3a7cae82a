"""Quantised files, made here, against what transformers makes of them."""

import json
from pathlib import Path

import jax
import matrix_case as cases
import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import zoo
from bridges import quantised, safetensors
from bridges.header import CheckpointError

MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [4, 8]}
RNG = np.random.default_rng(0)
F8, BF16 = ml_dtypes.float8_e4m3fn, ml_dtypes.bfloat16
SIZES = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}


def saved(folder: Path, id: str, **keys) -> tuple[dict[str, np.ndarray], dict]:
    """Tensors and config of a small random model of a row's kind."""
    row = cases.BY_ID[id]
    raw = {**row.config, **keys, "model_type": row.model_type, "architectures": [row.class_name]}
    model = zoo.from_config(raw, seed=1)
    return dict(cases.stored(model.save_pretrained(folder / "plain"))), raw


def written(folder: Path, tensors: dict, raw: dict, method: dict) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(raw | {"quantization_config": method}))
    return folder


def packed(name: str, tensors: dict) -> np.ndarray:
    """Replaces a tensor by random blocks and scales; what transformers unpacks them to."""
    experts, inp, out = tensors.pop(name).shape
    shape = (experts, out, inp // 32, 16)
    tensors[f"{name}_blocks"] = RNG.integers(0, 256, shape).astype(np.uint8)
    tensors[f"{name}_scales"] = RNG.integers(118, 124, shape[:-1]).astype(np.uint8)
    pair = (torch.from_numpy(tensors[f"{name}_{part}"].copy()) for part in ("blocks", "scales"))
    return convert_moe_packed_tensors(*pair).float().numpy()


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
def test_mxfp4_is_read_as_transformers_reads_it(tmp_path: Path, dtype: str | None):
    tensors, raw = saved(tmp_path, "gpt_oss-causal-lm", **SIZES)
    names = [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]
    assert len(names) == 4
    expected = {name: packed(name, tensors) for name in names}
    model = zoo.from_pretrained(written(tmp_path / "mx", tensors, raw, MXFP4), dtype=dtype)
    again = model.save_pretrained(tmp_path / "again")
    found = cases.tensors(again)
    assert found.keys() == (tensors.keys() - {f"{n}_{p}" for n in names for p in
                                              ("blocks", "scales")}) | set(names)  # fmt: skip
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name].float().numpy(), x)
    assert "quantization_config" not in json.loads((again / "config.json").read_text())
    plain = zoo.from_pretrained(again, dtype=dtype)
    for x, y in zip(jax.tree.leaves(model.params), jax.tree.leaves(plain.params), strict=True):
        np.testing.assert_array_equal(np.asarray(x, np.float32), np.asarray(y, np.float32))


def tiled(name: str, tensors: dict, rows: int, columns: int) -> np.ndarray:
    """Replaces a matrix by 8-bit floats and a factor per tile; their product by hand."""
    x = tensors[name]
    scales = RNG.uniform(0.5, 2, [-(-n // t) for n, t in zip(x.shape, (rows, columns))])  # noqa: B905
    tensors[f"{name}_scale_inv"] = scales = scales.astype(np.float32)
    tensors[name] = x.astype(F8)
    out = np.empty(x.shape, np.float32)
    for i, j in np.ndindex(*x.shape):
        out[i, j] = np.float32(tensors[name][i, j]) * scales[i // rows, j // columns]
    return out.astype(BF16).astype(np.float32)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_fp8_is_read_by_tiles(tmp_path: Path, dtype: str | None):
    """Tiles of which the last are not whole: no size here is a multiple of theirs."""
    tensors, raw = saved(tmp_path, "deepseek_v3-causal-lm", intermediate_size=45, v_head_dim=9)
    names = [n for n in tensors if "_proj" in n and "norm" not in n]
    expected = {name: tiled(name, tensors, 4, 8) for name in names}
    last = raw["num_hidden_layers"]
    tensors[f"model.layers.{last}.eh_proj.weight"] = np.zeros((4, 4), np.float32)
    model = zoo.from_pretrained(written(tmp_path / "fp8", tensors, raw, FP8), dtype=dtype)
    found = cases.tensors(model.save_pretrained(tmp_path / "again"))
    assert not any("scale_inv" in name or "eh_proj" in name for name in found)
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name].float().numpy(), x)


@pytest.mark.parametrize("start", [0, 2, 30, 34, 118])
def test_any_range_of_bytes(tmp_path: Path, start: int):
    tensors: dict[str, np.ndarray] = {"a.weight": RNG.normal(size=(10, 6)).astype(np.float32)}
    tiled("a.weight", tensors, 4, 4)
    tensors["b_blocks"] = RNG.integers(0, 256, (2, 3, 1, 16)).astype(np.uint8)
    tensors["b_scales"] = RNG.integers(120, 130, (2, 3, 1)).astype(np.uint8)
    save_file(tensors, tmp_path / "model.safetensors")
    methods = {"a.weight": FP8 | {"weight_block_size": [4, 4]}, "b": MXFP4}
    for name, method in methods.items():
        with safetensors.Checkpoint.open(tmp_path / "model.safetensors") as file:
            source = quantised.dequantised(file, method)
            whole = source.read(name)
            assert source.names[name].nbytes == whole.nbytes
            out = np.empty(min(50, whole.nbytes - start), np.uint8)
            source.read_into(name, out, start)
            assert out.tobytes() == whole.tobytes()[start : start + len(out)]


def test_scales_of_another_shape(tmp_path: Path):
    tensors = {"a.weight": np.zeros((8, 8), F8), "a.weight_scale_inv": np.ones((2, 2), np.float32)}
    save_file(tensors, tmp_path / "model.safetensors")
    with safetensors.Checkpoint.open(tmp_path / "model.safetensors") as file:
        with pytest.raises(CheckpointError, match=r"scale_inv: found shape \[2, 2\], expected"):
            quantised.dequantised(file, FP8)
    tensors = {"b_blocks": np.zeros((2, 3, 1, 8), np.uint8), "b_scales": np.zeros((2, 3, 1))}
    save_file(tensors, tmp_path / "model.safetensors")
    with safetensors.Checkpoint.open(tmp_path / "model.safetensors") as file:
        with pytest.raises(CheckpointError, match="b_blocks: found uint8"):
            quantised.dequantised(file, MXFP4)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quant_method 'gptq', can be read: fp8, mxfp4"),
        ({"bits": 4}, "quant_method None"),
        ("fp8", "quant_method None"),
        ({"quant_method": "fp8", "fmt": "e5m2"}, "fmt 'e5m2', expected 'e4m3'"),
        ({"quant_method": "fp8"}, "weight_block_size None, expected two numbers"),
    ],
)
def test_other_methods_are_refused_by_name(config, found: str):
    row = cases.BY_ID["gpt_oss-causal-lm"]
    raw = {**row.config, "model_type": "gpt_oss", "quantization_config": config}
    with pytest.raises(ValueError, match=f"quantised checkpoints are not supported: found {found}"):
        zoo.from_config(raw)
