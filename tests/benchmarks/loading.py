"""Time and memory of loading half a gigabyte whose bytes are in the page cache.

Where the dtype stays, transformers only maps the file, and the weights are read when they are
first used. So both sides are asked for one byte of every page of the weights; `also` says what
transformers takes before that.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
import transformers
from importing import python
from table import Row, duration
from timing import interleave

import zoo
from bridges import checkpoint

SPARE = 256 << 20
FASTER, NUMPY = 0.5, 0.8
PEAK = """
import sys
from pathlib import Path
import numpy

def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

who, folder, dtype = sys.argv[1:]
if who == "zoo":
    import jax, zoo, zoo.loading
    jax.block_until_ready(jax.device_put(0))
    load = lambda: zoo.from_pretrained(folder, dtype=dtype, progress=False)
else:
    import torch, transformers
    kind = transformers.AutoModelForCausalLM
    load = lambda: kind.from_pretrained(folder, dtype=getattr(torch, dtype))
before = memory("VmRSS")
model = load()
mapped = memory("VmHWM") - before
if who == "zoo":
    arrays = [numpy.asarray(x) for x in jax.tree.leaves(model.params)]
else:
    arrays = [p.detach().view(torch.uint8).numpy() for p in model.parameters()]
for x in arrays:
    x.reshape(-1).view(numpy.uint8)[::4096].max()
print(mapped, memory("VmHWM") - before)
"""


class Case(NamedTuple):
    """A model of about 500 MB in float32, stored in one dtype and loaded in another."""

    config: Callable[[], Any]
    stored: str = "float32"
    dtype: str = "float32"


def llama() -> Any:
    """No weight of it is re-arranged."""
    return transformers.LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=11,
        num_attention_heads=12,
    )


CASES = {
    "Llama, float32": Case(llama),
    "Llama, bfloat16 to float32": Case(llama, stored="bfloat16"),
    "GPT-2 small, float32 (fused)": Case(transformers.GPT2Config),
}
STARTS = {"Llama, float32": Case(llama)}
PEAKS = {
    "Llama, float32": Case(llama),
    "Llama, bfloat16 to float32": Case(llama, stored="bfloat16"),
    "Llama, float32 to bfloat16": Case(llama, dtype="bfloat16"),
}


def rows(
    chosen: Callable[[str], bool], rounds: int
) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Times, in this process and in new ones, then peaks of memory."""
    kinds = (("load", CASES, measure), ("start and load", STARTS, start), ("memory", PEAKS, peak))
    for kind, cases, run in kinds:
        for what, case in cases.items():
            name = f"{kind}: {what}"
            if chosen(name):
                yield name, lambda name=name, case=case, run=run: run(name, case, rounds)


def save(case: Case, folder: str) -> Any:
    """Draws transformers' model and saves it."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(case.config())
    model = model.to(getattr(torch, case.stored))
    model.save_pretrained(folder)
    return model


def measure(name: str, case: Case, rounds: int) -> list[Row]:
    """Times of zoo, transformers, and numpy copying the file into a new array."""
    with tempfile.TemporaryDirectory() as folder:
        reference = save(case, folder).to(getattr(torch, case.dtype))
        path = Path(folder, "model.safetensors")

        def ours() -> Any:
            model = zoo.from_pretrained(folder, dtype=case.dtype, progress=False)
            touch(np.asarray(x) for x in jax.tree.leaves(model.params))
            return model

        def mapped() -> Any:
            return transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, case.dtype)
            )

        def theirs() -> Any:
            model = mapped()
            touch(p.detach().view(torch.uint8).numpy() for p in model.parameters())
            return model

        def copy() -> Any:
            mapped = np.memmap(path, np.uint8, "r")
            out = np.empty(mapped.shape, np.uint8)
            np.copyto(out, mapped)
            return out

        check(ours(), reference)
        del reference
        calls = {"zoo": ours, "transformers": theirs, "mapped": mapped, "copy": copy}
        calls["read"] = lambda: np.fromfile(path, np.uint8)
        times = interleave(calls, rounds=rounds, pause=0.1)
        size = path.stat().st_size
    mine, other = times["zoo"], times["transformers"]
    best = min(("copy", "read"), key=lambda name: times[name].least)
    first = Row(
        name,
        duration(mine.least),
        f"{duration(other.least)} transformers",
        mine.least / other.least,
        mine.median / other.median,
        sense="<=",
        target=FASTER,
        also=f"{size / 1e6:.0f} MB; transformers {duration(times['mapped'].least)} before any use",
    )
    second = Row(
        f"{name}, against numpy",
        duration(mine.least),
        f"{duration(times[best].least)} numpy",
        times[best].least / mine.least,
        times[best].median / mine.median,
        target=NUMPY if case.stored == case.dtype else None,
        also=f"copyto from memmap {duration(times['copy'].least)}, "
        f"fromfile {duration(times['read'].least)}",
    )
    return [first, second]


def start(name: str, case: Case, rounds: int) -> list[Row]:
    """What a script waits for: a new interpreter, the imports, the model ready to run."""
    loads = {
        "zoo": "import jax, zoo; jax.block_until_ready(zoo.from_pretrained({!r}).params)",
        "transformers": "import transformers; "
        "transformers.AutoModelForCausalLM.from_pretrained({!r})",
    }
    with tempfile.TemporaryDirectory() as folder:
        save(case, folder)
        calls = {who: partial(python, code.format(folder)) for who, code in loads.items()}
        times = interleave(calls, rounds=rounds, pause=0.1)
    mine, other = times["zoo"], times["transformers"]
    row = Row(
        name,
        duration(mine.least),
        f"{duration(other.least)} transformers",
        mine.least / other.least,
        mine.median / other.median,
        sense="<=",
        target=FASTER,
    )
    return [row]


def touch(arrays: Iterable[np.ndarray]) -> None:
    """Reads a byte of every page."""
    for x in arrays:
        x.reshape(-1).view(np.uint8)[::4096].max()


def check(model: Any, reference: Any) -> None:
    """Both hold the same numbers."""
    state = reference.state_dict()
    for name, _, load in checkpoint.tensors(model.specs, model.params):
        if not np.array_equal(load(), state[name].numpy()):
            raise ValueError(f"{name} differs")


def peak(name: str, case: Case, rounds: int) -> list[Row]:
    """Peaks of resident memory above what was there before, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        count = sum(p.numel() for p in save(case, folder).parameters())
        size = count * getattr(torch, case.dtype).itemsize
        _, mine = _peak("zoo", folder, case.dtype)
        mapped, other = _peak("transformers", folder, case.dtype)
    bound = 1.15 * size + SPARE
    text = f"{mine / 1e6:.0f} MB"
    return [
        Row(
            name,
            text,
            f"{other / 1e6:.0f} MB transformers",
            mine / other,
            sense="<=",
            target=1.0,
            also=f"parameters {size / 1e6:.0f} MB; transformers {mapped / 1e6:.0f} before any use",
        ),
        Row(
            f"{name}, against the bound",
            text,
            f"{bound / 1e6:.0f} MB",
            mine / bound,
            sense="<=",
            target=1.0,
            also="1.15 x parameters + 256 MiB",
        ),
    ]


def _peak(who: str, folder: str, dtype: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, who, folder, dtype],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    mapped, used = map(int, done.stdout.split())
    return mapped, used
