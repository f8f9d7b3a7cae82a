"""gpt-oss: sinks, windows in every second layer, clamped experts."""

from matrix_rows import PADDED, Family

from families import decoders
from families.decoders import decoder, makers, rope5, shows

TINY = decoders.TINY | {
    "num_key_value_heads": 2, "head_dim": 12, "num_local_experts": 4, "num_experts_per_tok": 2,
    "sliding_window": 4, "swiglu_limit": 0.5,
}  # fmt: skip
_, lm = makers("gpt_oss", "GptOss", TINY)
SHARED = ("positions", "embeds", "eps", "question")
ROWS = (
    *(row for row in decoder("gpt_oss", "GptOss", TINY) if not row.id.endswith(SHARED)),
    lm("default-rope", rope5("default"), decodes=True),
    lm("no-bias", {"attention_bias": False}),
    lm("wide", {"swiglu_limit": 7.0, "num_experts_per_tok": 4}),
    lm("alpha", {"swiglu_alpha": 1.0, "rms_norm_eps": 1e-3}),
    lm("three-layers", {"num_hidden_layers": 3}, decodes=True),
    lm("layer-types", {"layer_types": ["full_attention", "sliding_attention"], **PADDED}),
    lm("old-names", {"experts_per_token": 2, "initial_context_length": 4096}, as_written=True),
)
GPT_OSS = {
    "model_type": "gpt_oss", "vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "hidden_act": "silu",
    "attention_bias": True, "max_position_embeddings": 131072, "initial_context_length": 4096,
    "experts_per_token": 4, "num_experts_per_tok": 4, "rms_norm_eps": 1e-5,
    "rope_theta": 150000, "sliding_window": 128, "swiglu_limit": 7.0,
    "tie_word_embeddings": False, "output_router_logits": False, "router_aux_loss_coef": 0.9,
    "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                     "truncate": False, "original_max_position_embeddings": 4096},
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                   "model.embed_tokens", "lm_head"]},
}  # fmt: skip
PUBLISHED = {
    "gpt-oss-20b": (
        "GptOssForCausalLM", 20_914_757_184,
        GPT_OSS | {"num_hidden_layers": 24, "num_local_experts": 32},
    ),
    "gpt-oss-120b": (
        "GptOssForCausalLM", 116_829_156_672,
        GPT_OSS | {"num_hidden_layers": 36, "num_local_experts": 128},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="gpt_oss", rows=ROWS, tiny=TINY, published=PUBLISHED,
        base="gpt_oss-causal-lm", shows=shows("gpt_oss"),
        values={"num_local_experts": 5, "num_experts_per_tok": 1, "swiglu_alpha": 1.0,
                "swiglu_limit": 0.1, "attention_bias": False,
                "layer_types": ("full_attention", "sliding_attention")},
    ),
)  # fmt: skip
