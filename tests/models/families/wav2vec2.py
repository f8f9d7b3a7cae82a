"""wav2vec 2.0: six classes and their switches."""

import numpy as np
from matrix_rows import SHIFT, Family, Row, maker

SAMPLES = 200
FRAMES = 16
MARGINS = ((0, 0), (60, 0), (0, 70), (40, 30))  # padding to the left and right of each row
TINY = {
    "vocab_size": 20, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 44, "conv_dim": [24, 20, 28], "conv_stride": [3, 2, 2],
    "conv_kernel": [5, 3, 2], "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 4,
    "mask_time_length": 3, "num_codevectors_per_group": 6, "codevector_dim": 8,
    "proj_codevector_dim": 12, "classifier_proj_size": 18, "tdnn_dim": [16, 14, 22],
    "tdnn_kernel": [3, 2, 1], "tdnn_dilation": [1, 2, 1], "xvector_output_dim": 10,
    "num_labels": 3,
}  # fmt: skip


def recordings(rng: np.random.Generator, row: Row) -> np.ndarray:
    """Noise [B, S]."""
    return rng.normal(0, 1, (len(MARGINS), SAMPLES)).astype(np.float32)


def kept(rng: np.random.Generator, row: Row) -> np.ndarray:
    """1 for samples, 0 for padding."""
    at = np.arange(SAMPLES)
    return np.stack([(at >= a) & (at < SAMPLES - b) for a, b in MARGINS]).astype(int)


MAKERS = {
    "input_values": recordings,
    "attention_mask": kept,
    "mask_time_indices": lambda rng, row: rng.integers(0, 2, (len(MARGINS), FRAMES)).astype(bool),
}
SOUND = ("input_values", "attention_mask")
HIDDEN = (*SOUND, "mask_time_indices")
SEEN = {"masked_spec_embed": "no frame is hidden"}
DEAD = {"k_proj.bias": SHIFT}
one = maker("wav2vec2", "Wav2Vec2", TINY, inputs=SOUND, dead=DEAD | SEEN)
hidden = maker("wav2vec2", "Wav2Vec2", TINY, inputs=HIDDEN, dead=DEAD)
LAYER = {"feat_extract_norm": "layer", "conv_bias": True}
STABLE = LAYER | {"do_stable_layer_norm": True}
CENTRED = {"conv_layers.0.conv.bias": "a shift that the norm takes away"}
ADAPTER = {"add_adapter": True, "num_adapter_layers": 2}
MIXED = {"use_weighted_layer_sum": True}
CHOSEN = {"quantizer.weight_proj": "the likeliest code is chosen, without a gradient"}
CLASSES = {"objective.weight": "what classes look like is for the loss alone"}
ROWS = (
    one("model", "Model", main=True),
    one("ctc", "ForCTC", main=True),
    one("sequence", "ForSequenceClassification", main=True),
    one("frame", "ForAudioFrameClassification", main=True),
    one("xvector", "ForXVector", dead=CLASSES, main=True),
    hidden("pretraining", "ForPreTraining", dead=CHOSEN, main=True),
    one("ctc-stable", "ForCTC", STABLE, main=True),
    one("model-layer-norm", "Model", LAYER),
    one("model-group-bias", "Model", {"conv_bias": True}, dead=CENTRED),
    hidden("model-hidden", "Model"),
    hidden("model-no-augment", "Model", {"apply_spec_augment": False}, dead=SEEN),
    one("model-no-mask", "Model", {"mask_time_prob": 0.0}),
    hidden("model-channels", "Model", {"mask_time_prob": 0.0, "mask_feature_prob": 0.1}),
    one("model-adapter", "Model", ADAPTER),
    one("ctc-adapter", "ForCTC", ADAPTER | {"output_hidden_size": 36, "adapter_stride": 3}),
    one("ctc-language", "ForCTC", STABLE | {"adapter_attn_dim": 6}),
    one("model-language-unused", "Model", {"adapter_attn_dim": 6}),
    one("xvector-adapter", "ForXVector",
        ADAPTER | {"num_adapter_layers": 1, "adapter_kernel_size": 4, "tdnn_kernel": [2, 1, 1]},
        dead=CLASSES),
    one("model-odd", "Model", {"num_conv_pos_embeddings": 5, "num_conv_pos_embedding_groups": 1}),
    one("model-activations", "Model",
        {"hidden_act": "relu", "feat_extract_activation": "gelu_new", "layer_norm_eps": 1e-3}),
    one("sequence-mixed", "ForSequenceClassification", MIXED | {"num_labels": 1}),
    one("frame-mixed", "ForAudioFrameClassification", MIXED | STABLE),
    one("xvector-mixed", "ForXVector", MIXED, inputs=("input_values",), dead=CLASSES),
    hidden("pretraining-adapter", "ForPreTraining", STABLE | ADAPTER, dead=CHOSEN),
    one("pretraining-whole", "ForPreTraining", {"num_codevector_groups": 4},
        inputs=("input_values",), dead=CHOSEN),
)  # fmt: skip
PUBLISHED = {
    "wav2vec2-base-960h": (
        "Wav2Vec2ForCTC", 94_396_320,
        {"model_type": "wav2vec2", "vocab_size": 32, "hidden_size": 768, "num_hidden_layers": 12,
         "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
         "feat_extract_norm": "group", "feat_extract_activation": "gelu",
         "feat_extract_dropout": 0.0, "conv_dim": [512] * 7, "conv_bias": False,
         "conv_stride": [5, 2, 2, 2, 2, 2, 2], "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
         "num_feat_extract_layers": 7, "num_conv_pos_embeddings": 128,
         "num_conv_pos_embedding_groups": 16, "do_stable_layer_norm": False,
         "ctc_loss_reduction": "sum", "ctc_zero_infinity": False, "layer_norm_eps": 1e-5},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="wav2vec2", rows=ROWS, tiny=TINY, makers=MAKERS, published=PUBLISHED,
        base="wav2vec2-ctc",
        shows={
            **dict.fromkeys(
                ("num_codevectors_per_group", "num_codevector_groups", "codevector_dim",
                 "proj_codevector_dim", "feat_quantizer_dropout"), "wav2vec2-pretraining"),
            **dict.fromkeys(
                ("adapter_kernel_size", "adapter_stride", "num_adapter_layers",
                 "output_hidden_size"), "wav2vec2-ctc-adapter"),
            **dict.fromkeys(
                ("tdnn_dim", "tdnn_kernel", "tdnn_dilation", "xvector_output_dim"),
                "wav2vec2-xvector"),
            "mask_feature_length": "wav2vec2-model-channels",
            "mask_feature_min_masks": "wav2vec2-model-channels",
            "apply_spec_augment": "wav2vec2-model-hidden",
            "adapter_attn_dim": "wav2vec2-ctc-language",
            "classifier_proj_size": "wav2vec2-sequence",
            "num_labels": "wav2vec2-sequence",
            "use_weighted_layer_sum": "wav2vec2-sequence",
        },
        values={
            "feat_extract_norm": "layer", "feat_extract_activation": "relu",
            "conv_dim": (20, 20, 28), "conv_stride": (3, 2, 1), "conv_kernel": (5, 3, 3),
            "conv_bias": True, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
            "do_stable_layer_norm": True, "apply_spec_augment": False, "mask_time_length": 5,
            "mask_time_min_masks": 4, "mask_feature_length": 4, "mask_feature_min_masks": 6,
            "num_codevectors_per_group": 5, "num_codevector_groups": 4, "codevector_dim": 12,
            "proj_codevector_dim": 10, "use_weighted_layer_sum": True, "classifier_proj_size": 14,
            "tdnn_dim": (16, 12, 22), "tdnn_kernel": (2, 2, 1), "tdnn_dilation": (1, 1, 1),
            "xvector_output_dim": 8, "add_adapter": True, "adapter_kernel_size": 4,
            "adapter_stride": 2, "num_adapter_layers": 1, "output_hidden_size": 40,
            "adapter_attn_dim": 8, "mask_time_prob": 0.9,
        },
    ),
)  # fmt: skip
