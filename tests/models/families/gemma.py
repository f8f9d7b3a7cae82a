"""Gemma 2 and 3: norms around sublayers, caps, alternating windows, a theta per kind of layer."""

from collections.abc import Mapping
from typing import Any

from matrix_rows import EMBEDDED, TEXT, UNTIED, Family, Row

from families import decoders
from families.decoders import makers, rope5
from zoo.layers.rope import Rope, Ropes

# Caps are low enough to bend the small numbers of tiny models.
TINY = decoders.TINY | {
    "num_key_value_heads": 2, "head_dim": 12, "num_hidden_layers": 3, "sliding_window": 4,
    "query_pre_attn_scalar": 20, "pad_token_id": 0,
}  # fmt: skip
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 8.0}
UNCAPPED = dict.fromkeys(CAPS)
KINDS = ["full_attention", "sliding_attention", "sliding_attention"]
EMBEDS = ("inputs_embeds", "attention_mask")


def gemma(model_type: str, name: str, tiny: Mapping[str, Any]) -> tuple[Row, ...]:
    """Switches of both."""
    _, lm = makers(model_type, name, tiny)
    return (
        lm("mqa", {"num_key_value_heads": 1}, decodes=True),
        lm("bias", {"attention_bias": True}, decodes=True),
        lm("untied", UNTIED),
        lm("layer-types", {"layer_types": KINDS}, decodes=True),
        lm("window-longer-than-the-text", {"sliding_window": 20}, decodes=True),
        lm("head-smaller", {"head_dim": 6}),
        lm("eps", {"rms_norm_eps": 1e-2, "hidden_activation": "silu"}),
        lm("no-pad", {"pad_token_id": None}),
        lm("positions", inputs=(*TEXT, "position_ids")),
    )


TINY2 = TINY | CAPS
one, lm = makers("gemma2", "Gemma2", TINY2)
ROWS2 = (
    one("model", "Model", main=True),
    one("causal-lm", "ForCausalLM", main=True, decodes=True),
    one("sequence", "ForSequenceClassification", main=True),
    one("token", "ForTokenClassification", main=True),
    *gemma("gemma2", "Gemma2", TINY2),
    lm("uncapped", UNCAPPED, decodes=True),
    lm("embeds-untied", UNTIED, inputs=EMBEDS, dead={"embed_tokens": EMBEDDED}),
    lm("linear", rope5("linear")),
    lm("written-by-4",
       {"rope_theta": 100.0, "cache_implementation": "hybrid", "hidden_act": "gelu_pytorch_tanh"},
       as_written=True),
)  # fmt: skip
TINY3 = TINY | {"sliding_window_pattern": 2}
one3, lm3 = makers("gemma3_text", "Gemma3", TINY3)
ROPES = {
    "full_attention": {"rope_type": "linear", "rope_theta": 900.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}
BOTH = {"use_bidirectional_attention": True, "sliding_window": 6}
ROWS3 = (
    one3("model", "TextModel", main=True),
    one3("causal-lm", "ForCausalLM", main=True, decodes=True),
    one3("sequence", "TextForSequenceClassification", main=True),
    *gemma("gemma3_text", "Gemma3", TINY3),
    lm3("period-of-six", {"sliding_window_pattern": 6, "num_hidden_layers": 7}, decodes=True),
    lm3("ropes", {"rope_parameters": ROPES}, decodes=True),
    lm3("capped", CAPS),
    lm3("both-directions", BOTH, causal=False),
    lm3("written-by-4",
        {"rope_theta": 900.0, "rope_local_base_freq": 50.0, "cache_implementation": "hybrid",
         "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window_pattern": 3},
        as_written=True),
)  # fmt: skip
PUBLISHED2 = {
    "gemma-2-2b": (
        "Gemma2ForCausalLM", 2_614_341_888,
        {"model_type": "gemma2", "attention_bias": False, "attn_logit_softcapping": 50.0,
         "cache_implementation": "hybrid", "final_logit_softcapping": 30.0, "head_dim": 256,
         "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
         "hidden_size": 2304, "intermediate_size": 9216, "max_position_embeddings": 8192,
         "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4,
         "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
         "sliding_window": 4096, "vocab_size": 256000},
    ),
}  # fmt: skip
PUBLISHED3 = {
    "gemma-3-1b-pt": (
        "Gemma3ForCausalLM", 999_885_952,
        {"model_type": "gemma3_text", "attention_bias": False, "attn_logit_softcapping": None,
         "cache_implementation": "hybrid", "final_logit_softcapping": None, "head_dim": 256,
         "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
         "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4,
         "num_hidden_layers": 26, "num_key_value_heads": 1, "query_pre_attn_scalar": 256,
         "rms_norm_eps": 1e-6, "rope_local_base_freq": 10000, "rope_scaling": None,
         "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6,
         "vocab_size": 262144},
    ),
}  # fmt: skip
VALUES = {
    "hidden_activation": "relu", "attn_logit_softcapping": None, "query_pre_attn_scalar": 5,
    "layer_types": ("full_attention",) * 3, "use_bidirectional_attention": True,
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="gemma2", rows=ROWS2, tiny=TINY2, published=PUBLISHED2,
        base="gemma2-causal-lm", shows=decoders.shows("gemma2"),
        values=VALUES | {"final_logit_softcapping": None},
    ),
    Family(
        model_type="gemma3_text", rows=ROWS3, tiny=TINY3, published=PUBLISHED3,
        base="gemma3_text-causal-lm",
        shows={"num_labels": "gemma3_text-sequence", "pad_token_id": "gemma3_text-sequence"},
        values=VALUES | {
            "final_logit_softcapping": 0.1, "layer_types": ("full_attention",) * 3,
            "rope_parameters": Ropes(sliding_attention=Rope(rope_theta=7.0)),
        },
    ),
)  # fmt: skip
