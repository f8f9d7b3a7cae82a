"""The same forward passes and gradients on an NVIDIA GPU, and layers of the size of an 8B model.

float32 uses TensorFloat-32 on both sides, which is the default in JAX.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import compute
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from table import Row

CLOSE = {"float32": 1e-2, "bfloat16": 1e-1}
PROMPT, ROOM = 2048, 512


def llama(layers: int = 8) -> Any:
    """Layers of Llama 3 8B under a small vocabulary."""
    return transformers.LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
    )


BLOCKS = compute.Case(llama, "LlamaForCausalLM", lambda: compute.tokens(1, PROMPT, 32000), None)


def rows(chosen: Callable[[str], bool], rounds: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Names and what measures them."""
    if not torch.cuda.is_available() or jax.default_backend() != "gpu":
        print("no GPU that both torch and jax can use")
        return
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    for title, case in (
        compute.CASES | {"prefill: 8 layers of Llama 8B, 1 x 2048": BLOCKS}
    ).items():
        for dtype in ("float32",) if case.gradient else ("float32", "bfloat16"):
            name = f"{title}, {dtype}"
            if chosen(name):
                yield (
                    name,
                    functools.partial(
                        compute.measure,
                        name,
                        case._replace(target=None),
                        rounds,
                        device="cuda",
                        dtype=dtype,
                        close=CLOSE[dtype],
                    ),
                )
    name = f"decode: 8 layers of Llama 8B, one token after {PROMPT}, bfloat16"
    if chosen(name):
        yield name, functools.partial(decode, name, BLOCKS, rounds)


def decode(
    name: str, case: compute.Case, rounds: int, *, device: str = "cuda", dtype: str = "bfloat16"
) -> Row:
    """One step of decoding; the cache goes from step to step on both sides."""
    reference, model = compute.both(case, device, dtype)
    prompt = case.inputs()["input_ids"]
    calls = {"zoo": _ours(model, prompt)}
    for attention in compute.ATTENTIONS:
        reference.set_attn_implementation(attention)
        step = _theirs(reference, prompt)
        calls[attention] = compute.with_attention(reference, attention, step)
    ours = np.asarray(calls["zoo"](), np.float32)
    theirs = calls["sdpa"]().float().cpu().numpy()
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not error <= CLOSE[dtype]:
        raise ValueError(f"logits differ by {error:.1e} of the largest, expected {CLOSE[dtype]:g}")
    return compute.compare(name, calls, rounds, target=None, also=f"logits differ by {error:.0e}")


def _ours(model: Any, prompt: np.ndarray) -> Callable[[], Any]:
    @functools.partial(jax.jit, donate_argnums=2)
    def step(params, ids, cache):
        out = model.apply(params, input_ids=ids, cache=cache)
        return out.logits[:, -1:], out.cache

    batch, length = prompt.shape
    _, cache = step(model.params, jnp.asarray(prompt), model.init_cache(batch, length + ROOM))
    last = jnp.asarray(prompt[:, -1:])
    state = [cache]

    def run() -> Any:
        logits, state[0] = step(model.params, last, state[0])
        return jax.block_until_ready(logits)

    return run


def _theirs(model: Any, prompt: np.ndarray) -> Callable[[], Any]:
    ids = torch.from_numpy(prompt.astype(np.int64)).to(model.device)
    with torch.inference_mode():
        cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values

    def run() -> Any:
        with torch.inference_mode():
            return compute.done(model(ids[:, -1:], past_key_values=cache, use_cache=True).logits)

    return run
