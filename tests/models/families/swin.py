"""Swin: four classes and their switches."""

from matrix_rows import PIXELS, SHIFT, Family, maker

TINY = {
    "image_size": 24, "patch_size": 2, "num_channels": 3, "embed_dim": 8, "depths": [2, 3],
    "num_heads": [4, 4], "window_size": 3, "mlp_ratio": 2.0, "encoder_stride": 4, "num_labels": 3,
}  # fmt: skip
one = maker("swin", "Swin", TINY, inputs=PIXELS, dead={"attention.self.key.bias": SHIFT})
bare = maker("swin", "Swin", TINY, inputs=PIXELS)
HIDDEN = ("pixel_values", "bool_masked_pos")
UNMASKED = {"mask_token": "no patch is masked"}
STAGES = {"out_features": ["stem", "stage1", "stage2"]}
UNUSED = {"swin.layernorm": "maps have norms of their own"}
ABSOLUTE = {"use_absolute_embeddings": True}
INTERPOLATED = {"flags": (("interpolate_pos_encoding", True),)}
ROWS = (
        one("model", "Model", main=True),
        one("image", "ForImageClassification", main=True),
        one("masked-image", "ForMaskedImageModeling", ABSOLUTE, inputs=HIDDEN, main=True),
        one("backbone", "Backbone", STAGES, dead=UNUSED, main=True),
        one("masked-image-whole", "ForMaskedImageModeling", {"encoder_stride": 3}, dead=UNMASKED),
        one("model-padded", "Model", inputs=("pixel_values:larger",)),
        one("model-one-window", "Model", {"window_size": 6, "hidden_act": "relu"}),
        one("model-absolute-larger", "Model", ABSOLUTE, inputs=("pixel_values:wider",),
            **INTERPOLATED),
        one("model-wide", "Model", {"image_size": [24, 32], "patch_size": [2, 4]}),
        bare("model-no-qkv-bias", "Model", {"qkv_bias": False, "num_channels": 1}),
        one("model-eps", "Model", {"layer_norm_eps": 1e-3, "depths": [1, 1, 2], "num_heads":
            [2, 4, 8], "mlp_ratio": 1.5}),
        one("image-no-labels", "ForImageClassification", {"num_labels": 0}),
        one("backbone-small-maps", "Backbone", {"out_indices": [0, -1], "window_size": 7},
            dead=UNUSED),
    )  # fmt: skip
LABELS = {"id2label": {str(i): f"LABEL_{i}" for i in range(1000)}}
PUBLISHED = {
    "swin-tiny-patch4-window7-224": (
        "SwinForImageClassification", 28_288_354,
        {"model_type": "swin", "image_size": 224, "patch_size": 4, "num_channels": 3,
         "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7,
         "mlp_ratio": 4.0, "qkv_bias": True, "hidden_act": "gelu", "drop_path_rate": 0.1,
         "use_absolute_embeddings": False, "layer_norm_eps": 1e-5, "path_norm": True,
         "num_layers": 4, "hidden_size": 768, "encoder_stride": 32, **LABELS},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="swin", rows=ROWS, tiny=TINY, published=PUBLISHED, base="swin-model",
        shows={"num_labels": "swin-image", "encoder_stride": "swin-masked-image-whole",
               "image_size": "swin-masked-image", "out_features": "swin-backbone",
               "out_indices": "swin-backbone-small-maps"},
        values={"embed_dim": 16, "depths": (2, 1), "num_heads": (2, 4), "window_size": 2,
                "mlp_ratio": 3.0, "use_absolute_embeddings": True, "out_features": ("stage1",),
                "out_indices": (1,), "layer_norm_eps": 0.5},
        refused=("num_channels",),
    ),
)  # fmt: skip
