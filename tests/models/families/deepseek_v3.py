"""DeepSeek-V3: latent attention, experts by groups, shared experts, dense layers first."""

from matrix_rows import Family

from families import decoders
from families.decoders import decoder, makers, rope4, rope5, shows

TINY = decoders.TINY | {
    "moe_intermediate_size": 24, "n_routed_experts": 8, "n_group": 4, "topk_group": 2,
    "num_experts_per_tok": 3, "first_k_dense_replace": 1, "kv_lora_rank": 20, "q_lora_rank": 28,
    "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10,
}  # fmt: skip
_, lm = makers("deepseek_v3", "DeepseekV3", TINY)
OTHERS = ("mqa", "question", "positions", "written-by-4")
FIRST = {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "moe_layer_freq": 1}
MSCALE = {"mscale": 0.7, "mscale_all_dim": 1.1}
ROWS = (
    *(row for row in decoder("deepseek_v3", "DeepseekV3", TINY) if not row.id.endswith(OTHERS)),
    lm("direct-queries", {"q_lora_rank": None}, decodes=True),
    lm("halves", {"rope_interleave": False}),
    lm("bias", {"attention_bias": True}, decodes=True),
    lm("all-dense", {"first_k_dense_replace": 2}),
    lm("all-sparse", {"first_k_dense_replace": 0, "n_shared_experts": 2}),
    lm("one-group", {"n_group": 1, "topk_group": 1, "norm_topk_prob": False}),
    lm("small-latent", {"kv_lora_rank": 8, "qk_nope_head_dim": 20}, decodes=True),
    lm("yarn", rope5("yarn", **MSCALE), decodes=True),
    lm("yarn-written-by-4", rope4("yarn", key="type", **MSCALE) | FIRST, as_written=True),
)
DEEPSEEK = {
    "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "n_shared_experts": 1,
    "n_routed_experts": 256, "routed_scaling_factor": 2.5, "kv_lora_rank": 512,
    "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
    "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "norm_topk_prob": True, "hidden_act": "silu", "max_position_embeddings": 163840,
    "rms_norm_eps": 1e-6, "rope_theta": 10000, "attention_bias": False, "aux_loss_alpha": 0.001,
    "ep_size": 1, "seq_aux": True, "num_nextn_predict_layers": 1, "pretraining_tp": 1,
    "tie_word_embeddings": False,
    "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                     "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 4096},
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3",
                            "quant_method": "fp8", "weight_block_size": [128, 128]},
}  # fmt: skip
PUBLISHED = {"DeepSeek-V3": ("DeepseekV3ForCausalLM", 671_026_404_352, DEEPSEEK | FIRST)}
FAMILIES = (
    Family(
        model_type="deepseek_v3", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="deepseek_v3-causal-lm", shows=shows("deepseek_v3"),
        values={
            "moe_intermediate_size": 20, "n_shared_experts": 2, "n_routed_experts": 12,
            "routed_scaling_factor": 1.5, "kv_lora_rank": 16, "q_lora_rank": 16,
            "qk_rope_head_dim": 4, "v_head_dim": 12, "qk_nope_head_dim": 8, "n_group": 2,
            "topk_group": 3, "num_experts_per_tok": 1, "first_k_dense_replace": 2,
            "norm_topk_prob": False, "rope_interleave": False,
        },
    ),
)  # fmt: skip
