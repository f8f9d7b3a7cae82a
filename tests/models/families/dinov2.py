"""DINOv2: three classes and their switches."""

from matrix_rows import PIXELS, SHIFT, Family, maker

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2,
    "image_size": 12, "patch_size": 4, "num_channels": 3, "num_labels": 3,
}  # fmt: skip
UNMASKED = {"mask_token": "no patch is masked"}
KEY = {"attention.attention.key.bias": SHIFT}
bare = maker("dinov2", "Dinov2", TINY, inputs=PIXELS, dead=UNMASKED)
one = maker("dinov2", "Dinov2", TINY, inputs=PIXELS, dead={**KEY, **UNMASKED})
hidden = maker("dinov2", "Dinov2", TINY, inputs=("pixel_values", "bool_masked_pos"), dead=KEY)
unmasked = maker("dinov2", "Dinov2", {**TINY, "use_mask_token": False}, inputs=PIXELS, dead=KEY)
GATED = {"use_swiglu_ffn": True}
STAGES = {"out_features": ["stem", "stage2"]}
UNNORMED = {"layernorm": "maps are not normed"}
ROWS = (
        hidden("model", "Model", main=True),
        one("image", "ForImageClassification", GATED, main=True),
        one("backbone", "Backbone", STAGES, main=True),
        one("model-larger", "Model", inputs=("pixel_values:larger",)),
        one("model-smaller", "Model", {"hidden_act": "relu"}, inputs=("pixel_values:smaller",)),
        one("model-mask", "Model", GATED, inputs=("pixel_values", "attention_mask:patches")),
        bare("model-no-qkv-bias", "Model", {"qkv_bias": False, "image_size": [12, 12]}),
        unmasked("model-no-mask-token", "Model", {"layer_norm_eps": 1e-3, "num_channels": 1}),
        one("image-no-labels", "ForImageClassification", {"num_labels": 0}),
        one("image-plain", "ForImageClassification", {"layerscale_value": 0.5}),
        one("backbone-last", "Backbone", GATED, inputs=("pixel_values:larger",)),
        one("backbone-tokens", "Backbone", {"out_indices": [0, -1], "apply_layernorm": False,
            "reshape_hidden_states": False}, dead=UNNORMED),
    )  # fmt: skip
LARGE = {
    "model_type": "dinov2", "image_size": 518, "patch_size": 14, "mlp_ratio": 4,
    "hidden_act": "gelu", "layerscale_value": 1.0, "drop_path_rate": 0.0,
    "layer_norm_eps": 1e-6, "qkv_bias": True, "num_channels": 3,
}  # fmt: skip
PUBLISHED = {
    "dinov2-base": (
        "Dinov2Model", 86_580_480,
        {**LARGE, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    ),
    "dinov2-giant": (
        "Dinov2Model", 1_136_480_768,
        {**LARGE, "hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24,
         "use_swiglu_ffn": True},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="dinov2", rows=ROWS, tiny=TINY, published=PUBLISHED, base="dinov2-model",
        shows={"num_labels": "dinov2-image", "apply_layernorm": "dinov2-backbone",
               "reshape_hidden_states": "dinov2-backbone", "out_features": "dinov2-backbone",
               "out_indices": "dinov2-backbone-tokens"},
        values={"mlp_ratio": 3, "layerscale_value": 0.5, "use_swiglu_ffn": True,
                "use_mask_token": False, "apply_layernorm": False, "out_features": ("stage1",),
                "reshape_hidden_states": False, "out_indices": (1,), "layer_norm_eps": 0.5},
        refused=("num_channels",),
    ),
)  # fmt: skip
