"""BART: five classes and their switches."""

from matrix_rows import EMBEDDED, SHIFT, TEXT, UNTIED, Family, maker

from families.t5 import BOTH, ENDED, ended

TINY = {
    "vocab_size": 100, "d_model": 32, "max_position_embeddings": 40, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 44, "decoder_ffn_dim": 52, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "decoder_start_token_id": 2, "num_labels": 3,
}  # fmt: skip
one = maker("bart", "Bart", TINY, dead={"attn.k_proj.bias": SHIFT})
TARGET = {"inputs": BOTH, "causal": True}
LM = "ForConditionalGeneration"
ALONE = {"dead": {"encoder_attn": "there is no encoder"}, "causal": True}
SEEN = (*TEXT, "encoder_hidden_states", "encoder_attention_mask")
ROWS = (
        one("model", "Model", main=True, **TARGET),
        one("lm", LM, main=True, decodes=True, **TARGET),
        one("sequence", "ForSequenceClassification", inputs=ENDED, main=True),
        one("question", "ForQuestionAnswering", {"num_labels": 2}, inputs=TEXT, main=True),
        one("causal", "ForCausalLM", main=True, decodes=True, **ALONE),
        one("lm-untied", LM, UNTIED, dead={"shared": "each part has its own"}, **TARGET),
        one("lm-scaled", LM, {"scale_embedding": True}, decodes=True, **TARGET),
        one("lm-relu", LM, {"activation_function": "relu", "decoder_attention_heads": 8,
                            "decoder_layers": 3}, **TARGET),
        one("model-shifted", "Model", inputs=TEXT),
        one("model-embeds", "Model", {"scale_embedding": True}, causal=True,
            inputs=("inputs_embeds", "attention_mask", "decoder_inputs_embeds",
                    "decoder_attention_mask"),
            dead={"shared": EMBEDDED}),
        one("model-encoded", "Model", causal=True,
            inputs=("encoder_outputs", "attention_mask", "decoder_input_ids"),
            dead={"encoder.": "what it would return is given"}),
        one("causal-untied", "ForCausalLM", UNTIED, **ALONE),
        one("causal-behind-another", "ForCausalLM", causal=True, inputs=SEEN),
        one("lm-written-by-3", LM,
            {"_num_labels": 3, "add_bias_logits": False, "add_final_layer_norm": False,
             "classif_dropout": 0.1, "extra_pos_embeddings": 2, "is_encoder_decoder": True,
             "normalize_before": False, "normalize_embedding": True, "num_hidden_layers": 2,
             "static_position_embeddings": False, "num_beams": 4,
             "force_bos_token_to_be_generated": True, "forced_eos_token_id": 2,
             "task_specific_params": {"summarization": {"num_beams": 4, "max_length": 142}}},
            as_written=True, **TARGET),
    )  # fmt: skip
BASE = {
    "model_type": "bart", "_num_labels": 3, "activation_dropout": 0.1,
    "activation_function": "gelu",
    "add_bias_logits": False, "add_final_layer_norm": False, "attention_dropout": 0.1,
    "bos_token_id": 0, "classif_dropout": 0.1, "classifier_dropout": 0.0, "d_model": 768,
    "decoder_attention_heads": 12, "decoder_ffn_dim": 3072, "decoder_layerdrop": 0.0,
    "decoder_layers": 6, "decoder_start_token_id": 2, "dropout": 0.1, "early_stopping": True,
    "encoder_attention_heads": 12, "encoder_ffn_dim": 3072, "encoder_layerdrop": 0.0,
    "encoder_layers": 6, "eos_token_id": 2, "forced_eos_token_id": 2, "init_std": 0.02,
    "is_encoder_decoder": True, "max_position_embeddings": 1024, "normalize_before": False,
    "normalize_embedding": True, "num_beams": 4, "num_hidden_layers": 6, "pad_token_id": 1,
    "scale_embedding": False, "use_cache": True, "vocab_size": 50265,
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="bart", rows=ROWS, tiny=TINY, base="bart-lm",
        published={"bart-base": ("BartModel", 139_420_416, BASE)},
        makers={"input_ids:ended": ended},
        values={
            "d_model": 48, "encoder_ffn_dim": 60, "decoder_ffn_dim": 60, "encoder_layers": 1,
            "decoder_layers": 1, "encoder_attention_heads": 8, "decoder_attention_heads": 8,
            "scale_embedding": True, "init_std": 0.5, "eos_token_id": 7,
            "decoder_start_token_id": 9,
        },
        shows=dict.fromkeys(
            ("num_labels", "classifier_dropout", "eos_token_id", "decoder_start_token_id"),
            "bart-sequence",
        ),
    ),
)  # fmt: skip
