"""Phi-3: fused projections, partial and long rotations, windows."""

from matrix_rows import EMBEDDED, PADDED, TEXT, TIED, Family

from families import decoders
from families.decoders import ROPES, makers, shows

TINY = decoders.TINY | {"pad_token_id": 0}
PART = {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0,
                            "partial_rotary_factor": 0.5}}  # fmt: skip
FACTORS = {k: v for k, v in ROPES["longrope"].items() if k.endswith("_factor")}


def long(original: int, kind: str = "longrope", **changes) -> dict:
    """Frequencies that change beyond the original length."""
    rope = {"rope_type": kind, "rope_theta": 100.0, **FACTORS, **changes}
    return {"original_max_position_embeddings": original, "rope_parameters": rope}


def old(original: int, kind: str) -> dict:
    """The same as the first files spell it."""
    return {"original_max_position_embeddings": original, "rope_theta": 100.0,
            "rope_scaling": {"type": kind, **FACTORS}}  # fmt: skip


one, lm = makers("phi3", "Phi3", TINY)
ROWS = (
    one("model", "Model", main=True),
    one("causal-lm", "ForCausalLM", main=True, decodes=True),
    one("sequence", "ForSequenceClassification", main=True),
    one("token", "ForTokenClassification", main=True),
    lm("gqa", {"num_key_value_heads": 2}, main=True, decodes=True),
    lm("mqa-tied", {"num_key_value_heads": 1, **TIED}, decodes=True),
    lm("window", {"sliding_window": 4}, decodes=True),
    lm("partial", PART, decodes=True),
    lm("partial-long", long(5, partial_rotary_factor=0.5, short_factor=[1.0, 1.5],
                            long_factor=[2.0, 5.0])),
    lm("long-within", long(20), decodes=True),
    lm("long-beyond", long(5), decodes=True),
    # Here transformers runs the whole text again once it is longer.
    lm("long-crossing", long(10), decodes=True, grows=True, generates=False),
    lm("long-factor", long(5, attention_factor=1.3)),
    lm("long-default-length", {"rope_parameters": long(5)["rope_parameters"]}),
    lm("long-written-by-4", old(5, "longrope"), as_written=True),
    lm("yarn-written-by-4", old(20, "yarn"), as_written=True),
    lm("partial-written-by-4", {"rope_theta": 100.0, "partial_rotary_factor": 0.5,
                                "embd_pdrop": 0.1, "rope_scaling": None}, as_written=True),
    lm("eps", {"rms_norm_eps": 1e-3, "hidden_act": "gelu_pytorch_tanh"}),
    lm("no-pad", {"pad_token_id": None}),
    lm("positions", inputs=(*TEXT, "position_ids")),
    lm("embeds", inputs=("inputs_embeds", "attention_mask"), dead={"embed_tokens": EMBEDDED}),
    one("sequence-one-label", "ForSequenceClassification", PADDED | {"num_labels": 1}),
)  # fmt: skip
PUBLISHED = {
    "Phi-3-mini-4k-instruct": (
        "Phi3ForCausalLM", 3_821_079_552,
        {"model_type": "phi3", "attention_bias": False, "attention_dropout": 0.0,
         "embd_pdrop": 0.0, "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 8192,
         "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
         "num_key_value_heads": 32, "original_max_position_embeddings": 4096,
         "pad_token_id": 32000, "resid_pdrop": 0.0, "rms_norm_eps": 1e-5, "rope_scaling": None,
         "rope_theta": 10000.0, "sliding_window": 2047, "tie_word_embeddings": False,
         "vocab_size": 32064},
    ),
    "Phi-4-mini-instruct": (
        "Phi3ForCausalLM", 3_836_021_760,
        {"model_type": "phi3", "attention_bias": False, "attention_dropout": 0.0,
         "embd_pdrop": 0.0, "full_attn_mod": 1, "hidden_act": "silu", "hidden_size": 3072,
         "intermediate_size": 8192, "interpolate_factor": 1, "lm_head_bias": False,
         "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 24,
         "num_hidden_layers": 32, "num_key_value_heads": 8,
         "original_max_position_embeddings": 4096, "pad_token_id": 199999,
         "partial_rotary_factor": 0.75, "resid_pdrop": 0.0, "rms_norm_eps": 1e-5,
         "rope_scaling": {"long_factor": [1.0] * 48, "short_factor": [1.0] * 48,
                          "type": "longrope"},
         "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": True,
         "vocab_size": 200064},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="phi3", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="phi3-causal-lm-window",
        shows=shows("phi3") | {"original_max_position_embeddings": "phi3-causal-lm-long-within"},
        values={"original_max_position_embeddings": 5},
    ),
)  # fmt: skip
