"""Llama: every rope type in both spellings, biases, head sizes."""

from matrix_rows import PADDED, TIED, Family

from families.decoders import OUTSIDE, TINY, decoder, makers, rope4, rope5, shows

one, lm = makers("llama", "Llama", TINY)
SHORT = {"max_position_embeddings": 10}
THETA = {"rope_theta": 100.0}
ROWS = (
        *decoder("llama", "Llama", TINY),
        lm("gqa", {"num_key_value_heads": 2}, main=True, decodes=True),
        lm("head-larger", {"head_dim": 12}, decodes=True),
        lm("head-smaller", {"head_dim": 6, "num_key_value_heads": 2}),
        lm("attention-bias", {"attention_bias": True}, decodes=True),
        lm("mlp-bias", {"mlp_bias": True}),
        lm("both-biases-tied", {"attention_bias": True, "mlp_bias": True, **TIED}, main=True),
        lm("theta", rope5("default")),
        lm("theta-written-by-4", THETA, as_written=True),
        lm("linear", rope5("linear"), decodes=True),
        lm("linear-type-written-by-4", rope4("linear", key="type"), as_written=True),
        lm("dynamic-within", rope5("dynamic")),
        lm("dynamic-beyond", SHORT | rope5("dynamic"), decodes=True, grows=True),
        lm("dynamic-beyond-written-by-4", SHORT | rope4("dynamic", key="type"), as_written=True),
        lm("yarn", rope5("yarn"), decodes=True),
        lm("yarn-untruncated", rope5("yarn", truncate=False)),
        lm("yarn-attention-factor", rope5("yarn", attention_factor=0.8)),
        lm("yarn-mscale", rope5("yarn", mscale=0.7, mscale_all_dim=1.1)),
        lm("yarn-beta", rope5("yarn", beta_fast=4.0, beta_slow=0.5, truncate=False)),
        lm("yarn-written-by-4", rope4("yarn", mscale=0.7, mscale_all_dim=1.1), as_written=True),
        lm("yarn-bare", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, as_written=True),
        lm("longrope-beyond", rope5("longrope"), decodes=True, grows=True),
        lm("longrope-within", rope5("longrope", original_max_position_embeddings=20)),
        lm("longrope-attention-factor", rope5("longrope", attention_factor=1.3)),
        lm("longrope-outside", OUTSIDE, as_written=True),
        lm("longrope-written-by-4", rope4("longrope", key="type"), as_written=True),
        lm("llama3", rope5("llama3"), decodes=True),
        lm("llama3-written-by-4", rope4("llama3"), as_written=True),
        one("sequence-one-label", "ForSequenceClassification",
            PADDED | {"num_labels": 1}),
        one("sequence-no-pad", "ForSequenceClassification", inputs=("input_ids:single",)),
        one("token-five-labels", "ForTokenClassification", {"num_labels": 5}),
    )  # fmt: skip
PUBLISHED = {
    "Llama-3.1-8B": (
        "LlamaForCausalLM", 8_030_261_248,
        {"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
         "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 131072,
         "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "attention_bias": False,
         "mlp_bias": False, "pretraining_tp": 1, "tie_word_embeddings": False,
         "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192, "rope_type": "llama3"}},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="llama", rows=ROWS, tiny=TINY, published=PUBLISHED, base="llama-causal-lm",
        shows=shows("llama"),
    ),
)  # fmt: skip
