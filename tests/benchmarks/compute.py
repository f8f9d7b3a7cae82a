"""Forward passes and gradients, the same weights and inputs in both frameworks."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from table import Row, duration
from timing import interleave

import zoo

CLOSE = 1e-4  # of the largest value; beyond it two different things would be timed
ATTENTIONS = ("eager", "sdpa")


class Case(NamedTuple):
    """One model, one shape.

    Attributes:
      config: of transformers; random weights are drawn from it.
      class_name: transformers' class.
      inputs: makes the arrays.
      target: least ratio, the reference's time over ours; None where there is none.
      gradient: time the gradient of a scalar loss over all parameters, not the forward pass.
    """

    config: Callable[[], Any]
    class_name: str
    inputs: Callable[[], dict[str, np.ndarray]]
    target: float | None
    gradient: bool = False


def tokens(batch: int, length: int, vocab: int) -> dict[str, np.ndarray]:
    """Random ids."""
    ids = np.random.default_rng(0).integers(0, vocab, (batch, length), dtype=np.int32)
    return {"input_ids": ids}


def images(batch: int, size: int) -> dict[str, np.ndarray]:
    """Noise."""
    shape = (batch, 3, size, size)
    return {"pixel_values": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}


CASES = {
    "bert: BERT-base forward, 8 x 128": Case(
        transformers.BertConfig, "BertModel", lambda: tokens(8, 128, 30522), 1.1
    ),
    "gpt2: GPT-2 small forward, 1 x 256": Case(
        transformers.GPT2Config, "GPT2LMHeadModel", lambda: tokens(1, 256, 50257), 1.0
    ),
    "vit: ViT-B/16 forward, 4 x 224 x 224": Case(
        lambda: transformers.ViTConfig(num_labels=1000),
        "ViTForImageClassification",
        lambda: images(4, 224),
        1.0,
    ),
    "gradient: BERT-base, 4 x 128": Case(
        transformers.BertConfig, "BertModel", lambda: tokens(4, 128, 30522), 1.1, gradient=True
    ),
}


def pairs(texts: int, length: int, vocab: int, pictures: int, size: int) -> dict[str, np.ndarray]:
    """Random texts, and noise."""
    return tokens(texts, length, vocab) | images(pictures, size)


def mel(batch: int) -> dict[str, np.ndarray]:
    """Noise in place of the features of 30 seconds."""
    shape = (batch, 80, 3000)
    return {"input_features": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}


def whisper() -> Any:
    """Whisper base."""
    size = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8}
    return transformers.WhisperConfig(
        **size, encoder_ffn_dim=2048, decoder_layers=6, decoder_attention_heads=8,
        decoder_ffn_dim=2048,
    )  # fmt: skip


def mixtral() -> Any:
    """Eight experts of which two run, hidden 512."""
    return transformers.MixtralConfig(
        vocab_size=32000, hidden_size=512, intermediate_size=1792, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4, num_local_experts=8, num_experts_per_tok=2,
        max_position_embeddings=2048, sliding_window=None,
    )  # fmt: skip


def mamba2() -> Any:
    """Mamba2 130M."""
    return transformers.Mamba2Config(
        vocab_size=50288, hidden_size=768, num_hidden_layers=24, num_heads=24, head_dim=64,
        state_size=128, n_groups=1, tie_word_embeddings=True,
    )  # fmt: skip


CASES |= {
    "t5: T5-base encoder, 4 x 128": Case(
        lambda: transformers.T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12),
        "T5EncoderModel",
        lambda: tokens(4, 128, 32128),
        1.0,
    ),
    "whisper: Whisper-base encoder, 30 s": Case(
        whisper, "WhisperForAudioClassification", lambda: mel(1), 1.0
    ),
    "resnet: ResNet-50 forward, 4 x 224 x 224": Case(
        lambda: transformers.ResNetConfig(num_labels=1000),
        "ResNetForImageClassification",
        lambda: images(4, 224),
        0.9,
    ),
    "mixtral: 8 experts, hidden 512, 1 x 256": Case(
        mixtral, "MixtralForCausalLM", lambda: tokens(1, 256, 32000), 1.5
    ),
    "mamba2: Mamba2 130M forward, 1 x 512": Case(
        mamba2, "Mamba2ForCausalLM", lambda: tokens(1, 512, 50288), 1.5
    ),
    "clip: ViT-B/32, 8 texts of 77 and 8 images": Case(
        transformers.CLIPConfig, "CLIPModel", lambda: pairs(8, 77, 49408, 8, 224), 1.0
    ),
}


def rows(chosen: Callable[[str], bool], rounds: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Names and what measures them, of the chosen cases."""
    for name, case in CASES.items():
        if chosen(name):
            yield name, lambda name=name, case=case: measure(name, case, rounds)


def measure(
    name: str,
    case: Case,
    rounds: int,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    close: float = CLOSE,
) -> Row:
    """Checks that both agree, then times them."""
    reference, model = both(case, device, dtype)
    inputs = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in case.inputs().items()}
    ours = (gradient if case.gradient else forward)(model, inputs)
    calls: dict[str, Callable[[], Any]] = {"zoo": ours}
    theirs = (torch_gradient if case.gradient else torch_forward)(reference, inputs)
    attentions = ATTENTIONS if reference._supports_sdpa else ATTENTIONS[:1]
    for attention in attentions:
        calls[attention] = with_attention(reference, attention, theirs)
    error = max(difference(ours(), calls[a](), model, case.gradient) for a in attentions)
    if not error <= close:
        raise ValueError(f"outputs differ by {error:.1e} of the largest, expected {close:g}")
    return compare(name, calls, rounds, target=case.target, also=f"outputs differ by {error:.0e}")


def both(case: Case, device: str, dtype: str) -> tuple[Any, Any]:
    """transformers' model and ours, with the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        reference = getattr(transformers, case.class_name)(case.config()).eval()
        reference = reference.to(getattr(torch, dtype))
        reference.save_pretrained(folder)
        model = zoo.from_pretrained(folder, dtype=dtype, progress=False)
    return reference.to(device), model


def compare(
    name: str, calls: dict[str, Callable[[], Any]], rounds: int, *, target: float | None, also: str
) -> Row:
    """Times ours and the attentions that transformers has; the fastest one counts."""
    times = interleave(calls, rounds=rounds)
    theirs = [name for name in calls if name != "zoo"]
    best = min(theirs, key=lambda a: times[a].least)
    ratios = {a: times[a].least / times["zoo"].least for a in theirs}
    median = min(times[a].median for a in theirs) / times["zoo"].median
    each = ", ".join(f"{a} {duration(times[a].least)} ({ratios[a]:.2f})" for a in theirs)
    return Row(
        name,
        duration(times["zoo"].least),
        f"{duration(times[best].least)} torch {best}",
        ratios[best],
        median,
        target=target,
        also=f"{each}; {also}",
    )


def with_attention(model: Any, attention: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """`call` under one of transformers' attention implementations."""

    def run() -> Any:
        if model.config._attn_implementation != attention:
            model.set_attn_implementation(attention)
        return call()

    return run


def forward(model: Any, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The model as a user calls it."""
    arrays = {k: jnp.asarray(v) for k, v in inputs.items()}
    return lambda: jax.block_until_ready(main(model(**arrays)))


def torch_forward(model: Any, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The same in torch, without autograd or a cache."""
    arrays = _tensors(inputs, model)
    generates = ("gpt2", "mixtral", "mamba2")
    options = {"use_cache": False} if model.config.model_type in generates else {}

    def run() -> Any:
        with torch.inference_mode():
            return done(main(model(**arrays, **options)))

    return run


def gradient(model: Any, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Gradient of every parameter of a BERT."""
    arrays = {k: jnp.asarray(v) for k, v in inputs.items()}
    weights = jnp.asarray(_weights(model.config.hidden_size, inputs))

    @jax.jit
    def grad(params):
        def loss(params):
            out = model.apply(params, **arrays)
            return (out.last_hidden_state * weights).sum() + out.pooler_output.sum()

        return jax.grad(loss)(params)

    return lambda: jax.block_until_ready(grad(model.params))


def torch_gradient(model: Any, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    """The same by torch's autograd."""
    arrays = _tensors(inputs, model)
    weights = torch.from_numpy(_weights(model.config.hidden_size, inputs)).to(model.device)

    def run() -> Any:
        model.zero_grad(set_to_none=True)
        out = model(**arrays)
        ((out.last_hidden_state * weights).sum() + out.pooler_output.sum()).backward()
        return done({name: p.grad for name, p in model.named_parameters()})

    return run


def _weights(embed: int, inputs: dict[str, np.ndarray]) -> np.ndarray:
    # A plain mean would be constant: the last layer norm takes it away.
    shape = (*inputs["input_ids"].shape, embed)
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def _tensors(inputs: dict[str, np.ndarray], model: Any) -> dict[str, Any]:
    kinds = {"i": torch.int64, "f": model.dtype, "V": model.dtype}  # V: bfloat16 to numpy
    return {
        k: torch.from_numpy(np.asarray(v, np.int32 if v.dtype.kind == "i" else np.float32)).to(
            model.device, kinds[v.dtype.kind]
        )
        for k, v in inputs.items()
    }


def done(x: Any) -> Any:
    """Waits for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return x


def main(out: Any) -> Any:
    """Logits, or the vectors of a bare model."""
    names = ("logits", "logits_per_image", "last_hidden_state")
    return next(getattr(out, name) for name in names if hasattr(out, name))


def difference(ours: Any, theirs: Any, model: Any, gradient: bool) -> float:
    """Largest difference over largest value."""
    if not gradient:
        return _difference(np.asarray(ours, np.float32), theirs.float().cpu().numpy())
    from bridges import checkpoint

    found = {name: load for name, _, load in checkpoint.tensors(model.specs, ours)}
    if found.keys() != theirs.keys():
        raise ValueError(f"gradients of different parameters: {found.keys() ^ theirs.keys()}")
    # Some gradients are zero but for rounding, those of key biases; so one scale for all of them.
    largest = max(float(x.abs().max()) for x in theirs.values())
    return max(_difference(found[name](), theirs[name].cpu().numpy(), largest) for name in found)


def _difference(x: np.ndarray, reference: np.ndarray, scale: float = 0.0) -> float:
    return float(np.abs(x - reference).max()) / max(float(np.abs(reference).max()), scale)
