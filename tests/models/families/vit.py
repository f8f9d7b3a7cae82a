"""ViT: three classes and their switches."""

from matrix_rows import PIXELS, SHIFT, Family, maker

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 44,
    "image_size": 12, "patch_size": 4, "encoder_stride": 4, "num_channels": 3, "num_labels": 3,
}  # fmt: skip
one = maker("vit", "ViT", TINY, inputs=PIXELS, dead={"attention.attention.key.bias": SHIFT})
bare = maker("vit", "ViT", TINY, inputs=PIXELS)
WIDE = {"image_size": [12, 20], "patch_size": [3, 5]}
HIDDEN = ("pixel_values", "bool_masked_pos")
INTERPOLATED = {"flags": (("interpolate_pos_encoding", True),)}
UNMASKED = {"mask_token": "no patch is masked"}
ROWS = (
        one("model", "Model", main=True),
        one("image", "ForImageClassification", main=True),
        one("masked-image", "ForMaskedImageModeling", inputs=HIDDEN, main=True),
        one("masked-image-whole", "ForMaskedImageModeling", dead=UNMASKED),
        one("masked-image-stride", "ForMaskedImageModeling", {"encoder_stride": 2}, dead=UNMASKED),
        one("model-wide", "Model", WIDE),
        one("model-wide-image", "Model", {"image_size": [12, 20]}),
        bare("model-no-qkv-bias", "Model", {"qkv_bias": False}),
        one("model-larger", "Model", inputs=("pixel_values:larger",), **INTERPOLATED),
        one("model-smaller", "Model", inputs=("pixel_values:smaller",), **INTERPOLATED),
        one("model-same", "Model", **INTERPOLATED),
        one("model-masked", "Model", inputs=("pixel_values", "attention_mask:patches")),
        one("model-pooler", "Model", {"pooler_output_size": 20, "pooler_act": "relu"}),
        one("model-eps", "Model", {"layer_norm_eps": 1e-3, "hidden_act": "quick_gelu"}),
        one("image-grey", "ForImageClassification", {"num_channels": 1}),
        one("image-one-label", "ForImageClassification", {"num_labels": 1}),
        one("image-five-labels", "ForImageClassification", {"num_labels": 5}),
        one("image-larger", "ForImageClassification", inputs=("pixel_values:larger",),
            **INTERPOLATED),
        one("masked-image-grey", "ForMaskedImageModeling", {"num_channels": 1}, inputs=HIDDEN),
    )  # fmt: skip
PUBLISHED = {
    "vit-base-patch16-224": (
        "ViTForImageClassification", 86_567_656,
        {"model_type": "vit", "hidden_size": 768, "num_hidden_layers": 12,
         "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
         "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "image_size": 224,
         "patch_size": 16, "num_channels": 3, "layer_norm_eps": 1e-12, "qkv_bias": True,
         "encoder_stride": 16, "id2label": {str(i): f"LABEL_{i}" for i in range(1000)}},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="vit", rows=ROWS, tiny=TINY, published=PUBLISHED, base="vit-model",
        shows={"num_labels": "vit-image", "encoder_stride": "vit-masked-image-whole"},
        refused=("image_size", "num_channels"),
    ),
)  # fmt: skip
