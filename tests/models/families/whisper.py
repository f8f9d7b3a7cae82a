"""Whisper: four classes and their switches."""

import numpy as np
from matrix_rows import BATCH, EMBEDDED, LENGTH, TEXT, UNTIED, Family, Row, maker

TINY = {
    "vocab_size": 100, "num_mel_bins": 8, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 44,
    "decoder_ffn_dim": 52, "max_source_positions": 9, "max_target_positions": 40,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 99, "decoder_start_token_id": 1,
    "begin_suppress_tokens": [3, 99], "classifier_proj_size": 18, "num_labels": 3,
    "mask_time_length": 3,
}  # fmt: skip


def heard(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Vectors [B, S, E] in place of a recording."""
    shape = (BATCH, row.config["max_source_positions"], row.config["d_model"])
    return rng.normal(0, 0.3, shape).astype(np.float32)


def features(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Noise [B, M, F]."""
    frames = 2 * row.config["max_source_positions"]
    return rng.normal(0, 1, (BATCH, row.config["num_mel_bins"], frames)).astype(np.float32)


MAKERS = {
    "input_features": features,
    "encoder_outputs": heard,
    "attention_mask:frames": lambda rng, row: np.ones(
        (BATCH, 2 * row.config["max_source_positions"]), int),
    "decoder_position_ids": lambda rng, row: (
        np.arange(LENGTH) + 3 * np.arange(BATCH)[:, None]),
}  # fmt: skip
SOUND = ("input_features",)
BOTH = (*SOUND, "decoder_input_ids", "decoder_attention_mask")
# transformers' `generate` for Whisper does more than to continue; see test_whisper_generate.
one = maker("whisper", "Whisper", TINY, inputs=BOTH, causal=True, generates=False)
lm = maker("whisper", "Whisper", TINY, inputs=TEXT, causal=True)
label = maker("whisper", "Whisper", TINY, inputs=SOUND)
DEAF = {"encoder_attn": "there is nothing to hear"}
HEADS = {"encoder_attention_heads": 8, "decoder_attention_heads": 2, "decoder_layers": 3}
ROWS = (
    one("model", "Model", main=True),
    one("asr", "ForConditionalGeneration", main=True, decodes=True),
    lm("causal-lm", "ForCausalLM", dead=DEAF, main=True, decodes=True),
    label("label", "ForAudioClassification", main=True),
    one("asr-untied", "ForConditionalGeneration", UNTIED, decodes=True),
    one("asr-heads", "ForConditionalGeneration", HEADS, decodes=True),
    one("asr-activation", "ForConditionalGeneration", {"activation_function": "relu"}),
    one("asr-no-pad", "ForConditionalGeneration", {"pad_token_id": None}),
    one("model-bare-target", "Model", inputs=(*SOUND, "decoder_input_ids")),
    one("model-positions", "Model", inputs=(*BOTH, "decoder_position_ids")),
    one("model-masked", "Model",
        {"apply_spec_augment": True, "mask_feature_prob": 0.3, "mask_feature_length": 2},
        inputs=(*BOTH, "attention_mask:frames")),
    one("model-embeds", "Model", inputs=(*SOUND, "decoder_inputs_embeds"),
        dead={"embed_tokens": EMBEDDED}),
    one("asr-encoded", "ForConditionalGeneration",
        inputs=("encoder_outputs", "decoder_input_ids", "decoder_attention_mask"),
        dead={"encoder.": "what it would return is given"}),
    lm("causal-lm-hears", "ForCausalLM", inputs=("encoder_outputs", *TEXT)),
    label("label-mixed", "ForAudioClassification", {"use_weighted_layer_sum": True}),
    label("label-one", "ForAudioClassification", {"num_labels": 1}),
)  # fmt: skip
BASE = {
    "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"],
    "activation_dropout": 0.0, "activation_function": "gelu", "attention_dropout": 0.0,
    "begin_suppress_tokens": [220, 50257], "bos_token_id": 50257, "d_model": 512,
    "decoder_attention_heads": 8, "decoder_ffn_dim": 2048, "decoder_layerdrop": 0.0,
    "decoder_layers": 6, "decoder_start_token_id": 50258, "dropout": 0.0,
    "encoder_attention_heads": 8, "encoder_ffn_dim": 2048, "encoder_layerdrop": 0.0,
    "encoder_layers": 6, "eos_token_id": 50257, "init_std": 0.02, "is_encoder_decoder": True,
    "forced_decoder_ids": [[1, 50259], [2, 50359], [3, 50363]], "max_length": 448,
    "max_source_positions": 1500, "max_target_positions": 448, "num_hidden_layers": 6,
    "num_mel_bins": 80, "pad_token_id": 50257, "scale_embedding": False, "vocab_size": 51865,
    "suppress_tokens": [1, 2, 7], "use_cache": True,
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="whisper", rows=ROWS, tiny=TINY, makers=MAKERS,
        published={"whisper-base": ("WhisperForConditionalGeneration", 72_593_920, BASE)},
        base="whisper-asr",
        shows={
            "num_labels": "whisper-label", "classifier_proj_size": "whisper-label",
            "use_weighted_layer_sum": "whisper-label", "pad_token_id": "whisper-asr-untied",
            **dict.fromkeys(
                ("mask_time_prob", "mask_time_length", "mask_time_min_masks", "mask_feature_prob",
                 "mask_feature_length", "mask_feature_min_masks", "apply_spec_augment"),
                "whisper-model-masked"),
        },
        values={
            "num_mel_bins": 6, "d_model": 64, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 8, "decoder_attention_heads": 8, "encoder_ffn_dim": 60,
            "decoder_ffn_dim": 60, "init_std": 0.5, "max_source_positions": 7,
            "max_target_positions": 30, "apply_spec_augment": False, "mask_time_length": 4,
            "mask_time_min_masks": 3, "mask_feature_length": 4, "mask_feature_min_masks": 4,
            "use_weighted_layer_sum": True, "classifier_proj_size": 14, "mask_time_prob": 0.9,
        },
    ),
)  # fmt: skip
