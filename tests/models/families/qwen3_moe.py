"""Qwen3 with mixtures of experts: in all layers, in every second, but not in the first."""

from matrix_rows import Family

from families import decoders
from families.decoders import decoder, makers, rope4, shows

TINY = decoders.TINY | {
    "num_key_value_heads": 2, "head_dim": 12, "num_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}  # fmt: skip
WINDOW = {"use_sliding_window": True, "sliding_window": 4}
_, lm = makers("qwen3_moe", "Qwen3Moe", TINY)
ROWS = (
    *decoder("qwen3_moe", "Qwen3Moe", TINY),
    lm("normalised", {"norm_topk_prob": True}, decodes=True),
    lm("every-second", {"decoder_sparse_step": 2, "num_hidden_layers": 4}, decodes=True),
    lm("first-dense", {"mlp_only_layers": [0], "num_hidden_layers": 3, "num_experts": 8}),
    lm("no-experts", {"num_experts": 0}),
    lm("bias", {"attention_bias": True}),
    lm("window", WINDOW | {"mlp_only_layers": [1]}, decodes=True),
    lm("yarn-written-by-4", rope4("yarn", key="type"), as_written=True),
)
QWEN3_30B = {
    "model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048,
    "intermediate_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "hidden_act": "silu", "rms_norm_eps": 1e-6,
    "max_position_embeddings": 40960, "rope_theta": 1000000.0, "rope_scaling": None,
    "attention_bias": False, "use_sliding_window": False, "sliding_window": None,
    "max_window_layers": 48, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
    "norm_topk_prob": True, "output_router_logits": False, "router_aux_loss_coef": 0.001,
    "tie_word_embeddings": False,
}  # fmt: skip
PUBLISHED = {"Qwen3-30B-A3B": ("Qwen3MoeForCausalLM", 30_532_122_624, QWEN3_30B)}
FAMILIES = (
    Family(
        model_type="qwen3_moe", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="qwen3_moe-causal-lm-window", shows=shows("qwen3_moe"),
        values={"num_experts": 5, "num_experts_per_tok": 1, "moe_intermediate_size": 20,
                "decoder_sparse_step": 2, "mlp_only_layers": (0,), "norm_topk_prob": True},
    ),
)  # fmt: skip
