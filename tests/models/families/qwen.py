"""Qwen2 and Qwen3: windows in some layers; in Qwen3 norms of heads, and biases on request."""

from collections.abc import Mapping
from typing import Any

from matrix_rows import Family, Row

from families import decoders
from families.decoders import decoder, makers, rope4, rope5, shows

TINY = decoders.TINY | {"num_key_value_heads": 2}
TINY3 = TINY | {"head_dim": 12}
WINDOW = {"use_sliding_window": True, "sliding_window": 4, "num_hidden_layers": 3}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
QWEN3 = {
    "model_type": "qwen3", "vocab_size": 151936, "head_dim": 128, "hidden_act": "silu",
    "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000,
    "attention_bias": False, "use_sliding_window": False, "sliding_window": None,
}  # fmt: skip


def qwen(model_type: str, name: str, tiny: Mapping[str, Any]) -> tuple[Row, ...]:
    """Windows in some layers."""
    _, lm = makers(model_type, name, tiny)
    return (
        *decoder(model_type, name, tiny),
        lm("window-upper-layers", WINDOW | {"max_window_layers": 1}, main=True, decodes=True),
        lm("window-all-layers", WINDOW | {"max_window_layers": 0}),
        lm("window-no-layer", WINDOW | {"max_window_layers": 3}),
        lm("window-unused", WINDOW | {"use_sliding_window": False, "max_window_layers": 0}),
        lm("layer-types", WINDOW | {"layer_types": KINDS, "max_window_layers": 2}, decodes=True),
        lm("window-written-by-4", WINDOW | {"max_window_layers": 1, "rope_theta": 100.0},
           as_written=True),
        lm("yarn-written-by-4", rope4("yarn", key="type"), as_written=True),
        lm("yarn", rope5("yarn")),
    )  # fmt: skip


_, lm3 = makers("qwen3", "Qwen3", TINY3)
ROWS3 = (
    *qwen("qwen3", "Qwen3", TINY3),
    lm3("bias", {"attention_bias": True}, main=True, decodes=True),
    lm3("head-smaller", {"head_dim": 4}),
)
PUBLISHED2 = {
    "Qwen2.5-7B": (
        "Qwen2ForCausalLM", 7_615_616_512,
        {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584,
         "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
         "num_key_value_heads": 4, "hidden_act": "silu", "max_position_embeddings": 131072,
         "max_window_layers": 28, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
         "sliding_window": 131072, "use_sliding_window": False, "use_mrope": False,
         "tie_word_embeddings": False},
    ),
}  # fmt: skip
PUBLISHED3 = {
    "Qwen3-0.6B": (
        "Qwen3ForCausalLM", 596_049_920,
        QWEN3 | {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
                 "num_attention_heads": 16, "num_key_value_heads": 8, "max_window_layers": 28,
                 "tie_word_embeddings": True},
    ),
    "Qwen3-8B": (
        "Qwen3ForCausalLM", 8_190_735_360,
        QWEN3 | {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
                 "num_attention_heads": 32, "num_key_value_heads": 8, "max_window_layers": 36,
                 "tie_word_embeddings": False},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="qwen2", rows=qwen("qwen2", "Qwen2", TINY), tiny=TINY, published=PUBLISHED2,
        base="qwen2-causal-lm-window-upper-layers", shows=shows("qwen2"),
    ),
    Family(
        model_type="qwen3", rows=ROWS3, tiny=TINY3, published=PUBLISHED3,
        base="qwen3-causal-lm-window-upper-layers", shows=shows("qwen3"),
    ),
)  # fmt: skip
