"""Loading takes the parameters' memory and little more, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from bridges import header
from bridges.layout import layout
from zoo import registry, spec

ROOT = Path(__file__).resolve().parents[2]
SPARE = 256 << 20
CONFIGS = {
    "llama": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 32000,
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 6,
        "num_attention_heads": 16,
        "tie_word_embeddings": False,
    },
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 13},
}
LOAD = """
import sys
from pathlib import Path
import jax
import zoo, zoo.loading

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

jax.block_until_ready(jax.device_put(0))
before = memory("VmRSS")
folder, dtype, layers = sys.argv[1:]
model = zoo.from_pretrained(folder, dtype=dtype, layers=layers, progress=False)
jax.block_until_ready(model.params)
size = sum(x.nbytes for x in jax.tree.leaves(model.params))
print(size, memory("VmHWM") - before)
"""


def write_zeros(folder, kind, dtype):
    """A checkpoint of the right size that takes no disk: its file is a hole after the header."""
    raw = CONFIGS[kind]
    arch = registry.architecture(kind)
    fields = {k: v for k, v in raw.items() if k in arch.config.__dataclass_fields__}
    task = arch.tasks[raw["architectures"][0]]
    shapes = {
        name: layout(s).stored
        for s in spec.leaves(task.specs(arch.config(**fields)))
        for name in s.names
    }
    infos = {name: header.describe(name, np.dtype(dtype), s) for name, s in shapes.items()}
    start, _ = header.encode(infos, {})
    with open(folder / "model.safetensors", "wb") as file:
        file.write(start)
        file.truncate(len(start) + sum(info.nbytes for info in infos.values()))
    (folder / "config.json").write_text(json.dumps(raw))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "stored", "dtype", "layers"),
    [
        ("llama", np.float32, "float32", "loop"),
        ("llama", np.float32, "float32", "stacked"),
        ("llama", ml_dtypes.bfloat16, "float32", "loop"),
        ("llama", np.float32, "bfloat16", "loop"),
        ("gpt2", ml_dtypes.bfloat16, "float32", "loop"),
    ],
    ids=["same", "stacked", "widened", "narrowed", "transposed"],
)
def test_peak_memory(tmp_path, kind, stored, dtype, layers):
    write_zeros(tmp_path, kind, stored)
    plain = {k: v for k, v in os.environ.items() if not k.startswith("XLA_")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path), dtype, layers],
        cwd=ROOT,
        env=plain | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    size, above = map(int, done.stdout.split())
    assert size >= (500e6 if dtype == "float32" else 250e6)
    assert above <= 1.15 * size + SPARE, f"{above / 1e6:.0f} MB for {size / 1e6:.0f} MB"
    assert above >= size  # else the measurement is wrong
