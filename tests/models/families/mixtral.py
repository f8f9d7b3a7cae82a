"""Mixtral: a mixture of experts in every layer, with windows or without."""

from matrix_rows import Family

from families import decoders
from families.decoders import decoder, makers, rope5, shows

TINY = decoders.TINY | {
    "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 12,
}  # fmt: skip
_, lm = makers("mixtral", "Mixtral", TINY)
ROWS = (
    *decoder("mixtral", "Mixtral", TINY),
    lm("window", {"sliding_window": 4}, decodes=True),
    lm("one-expert", {"num_experts_per_tok": 1}, decodes=True,
       dead={".gate.weight": "the weight of a single expert is one"}),
    lm("all-experts", {"num_experts_per_tok": 4}),
    lm("many-experts", {"num_local_experts": 16, "num_experts_per_tok": 3}, decodes=True),
    lm("written-as-num-experts", {"num_experts": 6, "num_local_experts": 6}, as_written=True),
    lm("yarn", rope5("yarn")),
)  # fmt: skip
PUBLISHED = {
    "Mixtral-8x7B-v0.1": (
        "MixtralForCausalLM", 46_702_792_704,
        {"model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096,
         "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 32768,
         "num_experts_per_tok": 2, "num_local_experts": 8, "output_router_logits": False,
         "router_aux_loss_coef": 0.02, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
         "sliding_window": None, "tie_word_embeddings": False},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="mixtral", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="mixtral-causal-lm-window", shows=shows("mixtral"),
        values={"num_local_experts": 5, "num_experts_per_tok": 1},
    ),
)  # fmt: skip
