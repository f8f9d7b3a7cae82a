"""Greedy decoding with a cache: against transformers' `generate`, and against the memory.

At batch 1 every token reads all weights once, so that the bandwidth of the memory is the limit.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import compute
import jax
import numpy as np
import torch
import transformers
from table import Row, duration
from timing import interleave

FASTER, SHARE = 1.9, 0.7
PROMPT, NEW = 16, 128
READ = 1 << 29  # bytes, many times what caches hold
THREADS = 2
NAME = "decode: Llama 135M, batch 1, 128 tokens"
SETTINGS = {
    "max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0,
}  # fmt: skip


def llama() -> Any:
    """The shape of SmolLM 135M."""
    return transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


CASE = compute.Case(llama, "LlamaForCausalLM", lambda: compute.tokens(1, PROMPT, 49152), None)


def rows(
    chosen: Callable[[str], bool], rounds: int
) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Names and what measures them."""
    if chosen(NAME):
        yield NAME, lambda: measure(rounds)


def measure(rounds: int) -> list[Row]:
    """Checks that both give the same tokens, then times them and the memory in turns."""
    reference, model = compute.both(CASE, "cpu", "float32")
    ids = CASE.inputs()["input_ids"]
    prompt = torch.from_numpy(ids.astype(np.int64))
    mask = torch.ones_like(prompt)

    def theirs() -> np.ndarray:
        with torch.inference_mode():
            return reference.generate(prompt, attention_mask=mask, **SETTINGS).numpy()

    def ours() -> np.ndarray:
        return np.asarray(model.generate(ids, **SETTINGS))

    calls: dict[str, Callable[[], Any]] = {"zoo": ours, "memory": reading()}
    for attention in compute.ATTENTIONS:
        calls[attention] = compute.with_attention(reference, attention, theirs)
    found, expected = ours(), calls["eager"]()
    if not np.array_equal(found, expected):
        same = int((found == expected)[0].cumprod().sum()) - PROMPT
        raise ValueError(f"tokens differ after {same} of {NEW}")
    times = interleave(calls, rounds=rounds)
    speeds = {name: NEW / times[name].least for name in calls}
    weights = sum(x.nbytes for x in jax.tree.leaves(model.params))
    cache = model.init_cache(1, 1)
    row = sum(x.nbytes for x in jax.tree.leaves(cache.layers)) * (PROMPT + NEW / 2)
    moved, memory = (weights + row) * NEW, READ
    rate, bound = moved / times["zoo"].least, memory / times["memory"].least
    each = ", ".join(f"{a} {speeds[a]:.1f} tokens/s" for a in compute.ATTENTIONS)
    return [
        Row(
            NAME,
            f"{speeds['zoo']:.1f} tokens/s",
            f"{speeds['eager']:.1f} tokens/s torch eager",
            times["eager"].least / times["zoo"].least,
            times["eager"].median / times["zoo"].median,
            target=FASTER,
            also=f"{each}; the same tokens",
        ),
        Row(
            f"{NAME}: share of the memory's bandwidth",
            f"{rate / 1e9:.1f} GB/s",
            f"{bound / 1e9:.1f} GB/s read by {THREADS} threads",
            rate / bound,
            (moved / times["zoo"].median) / (memory / times["memory"].median),
            target=SHARE,
            also=f"{duration(times['zoo'].least / NEW)} a token, {weights / 1e6:.0f} MB of weights",
        ),
    ]


def reading() -> Callable[[], Any]:
    """Reads memory as fast as this machine can, every thread its own part."""
    parts = np.split(np.ones(READ // 4, np.float32), THREADS)

    def run() -> None:
        threads = [threading.Thread(target=np.add.reduce, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run
