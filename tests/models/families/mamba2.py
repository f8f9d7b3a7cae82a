"""Mamba 2: two classes, groups of heads, taps, biases, limits of the step."""

from collections.abc import Mapping
from typing import Any

from matrix_rows import EMBEDDED, TIED, Family, Row, maker

TINY = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 10, "num_heads": 8,
    "head_dim": 8, "expand": 2, "n_groups": 2, "conv_kernel": 4, "chunk_size": 5,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 99,
}  # fmt: skip
one = maker("mamba2", "Mamba2", TINY, causal=True)
# As files of transformers 4 have them: options that nothing reads are among them.
OLD = {
    "norm_before_gate": True, "rms_norm": True, "time_step_rank": 48, "use_cache": True,
    "time_step_min": 0.001, "time_step_max": 0.1, "time_step_floor": 1e-4, "hidden_act": "silu",
    "use_bias": False, "use_conv_bias": True, "rescale_prenorm_residual": False,
    "residual_in_fp32": True, "layer_norm_epsilon": 1e-5, "initializer_range": 0.1,
}  # fmt: skip


def lm(id: str, changes: Mapping = {}, **options: Any) -> Row:
    """One of the language model."""
    return one(f"causal-lm-{id}", "ForCausalLM", changes, **options)


ROWS = (
        one("model", "Model", main=True),
        one("causal-lm", "ForCausalLM", main=True, decodes=True),
        lm("tied", TIED, main=True, decodes=True),
        lm("one-group", {"n_groups": 1}, decodes=True),
        lm("a-group-per-head", {"n_groups": 8, "state_size": 3}, decodes=True),
        lm("few-wide-heads", {"num_heads": 4, "head_dim": 32, "expand": 4}, decodes=True),
        lm("biases", {"use_bias": True}, decodes=True),
        lm("no-biases", {"use_conv_bias": False}, decodes=True),
        lm("two-taps", {"conv_kernel": 2}, decodes=True),
        lm("one-tap", {"conv_kernel": 1}, decodes=True),
        lm("limits", {"time_step_limit": [0.6, 0.8]}),
        lm("whole-text-in-a-chunk", {"chunk_size": 256}),
        lm("gelu-eps", {"hidden_act": "gelu", "layer_norm_epsilon": 1e-3}, decodes=True),
        lm("embeds", inputs=("inputs_embeds", "attention_mask"), dead={"embeddings": EMBEDDED}),
        lm("written-by-4", OLD, as_written=True),
    )  # fmt: skip
PUBLISHED = {
    "mamba2-130m": (
        "Mamba2ForCausalLM", 128_989_632,
        {"model_type": "mamba2", **OLD, "vocab_size": 50288, "hidden_size": 768,
         "num_hidden_layers": 24, "state_size": 128, "num_heads": 24, "head_dim": 64, "expand": 2,
         "n_groups": 1, "conv_kernel": 4, "chunk_size": 256, "tie_word_embeddings": True,
         "time_step_limit": [0.0, {"__float__": "Infinity"}]},
    ),
    "Mamba-Codestral-7B": (
        "Mamba2ForCausalLM", 7_285_403_648,
        {"model_type": "mamba2", "vocab_size": 32768, "hidden_size": 4096,
         "num_hidden_layers": 64, "state_size": 128, "num_heads": 128, "head_dim": 64, "expand": 2,
         "n_groups": 8, "conv_kernel": 4, "chunk_size": 256, "tie_word_embeddings": False},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="mamba2", rows=ROWS, tiny=TINY, published=PUBLISHED, base="mamba2-causal-lm",
        values={
            "state_size": 9, "num_heads": 4, "expand": 3, "n_groups": 4, "conv_kernel": 3,
            "use_bias": True, "use_conv_bias": False, "residual_in_fp32": False,
            "rescale_prenorm_residual": True, "time_step_min": 0.05, "time_step_max": 0.5,
            "time_step_floor": 0.09, "time_step_limit": (0.0, 0.5),
        },
        bound=("hidden_size", "num_heads", "head_dim", "expand"),
        halves=("residual_in_fp32",),
    ),
)  # fmt: skip
