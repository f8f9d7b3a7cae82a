"""ResNet: three classes and their switches."""

from matrix_rows import PIXELS, Family, maker

TINY = {
    "embedding_size": 8, "hidden_sizes": [12, 16, 20], "depths": [1, 2, 1],
    "layer_type": "basic", "num_channels": 3, "num_labels": 3,
}  # fmt: skip
one = maker("resnet", "ResNet", TINY, inputs=PIXELS)
WIDE = {"layer_type": "bottleneck", "hidden_sizes": [16, 32, 48]}
ROWS = (
        one("model", "Model", WIDE, main=True),
        one("image", "ForImageClassification", main=True),
        one("backbone", "Backbone", {**WIDE, "out_features": ["stem", "stage2", "stage3"]},
            main=True),
        one("model-first-stage", "Model", {"downsample_in_first_stage": True}),
        one("model-bottleneck", "Model", {**WIDE, "downsample_in_bottleneck": True}),
        one("model-no-shortcut", "Model", {"hidden_sizes": [8, 16, 16]}),
        one("model-gelu", "Model", {"hidden_act": "gelu", "num_channels": 1}),
        one("image-no-labels", "ForImageClassification", {"num_labels": 0}),
        one("backbone-indices", "Backbone", {"out_indices": [1, -2]}),
        one("backbone-last", "Backbone"),
        one("backbone-old", "Backbone", {"out_features": ["stage1"], "stage_names":
            ["stem", "stage1", "stage2", "stage3"]}, as_written=True),
    )  # fmt: skip
LABELS = {"id2label": {str(i): f"LABEL_{i}" for i in range(1000)}}
PUBLISHED = {
    "resnet-50": (
        "ResNetForImageClassification", 25_557_032,
        {"model_type": "resnet", "embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048],
         "depths": [3, 4, 6, 3], "layer_type": "bottleneck", "hidden_act": "relu",
         "downsample_in_first_stage": False, "num_channels": 3, **LABELS},
    ),
    "resnet-18": (
        "ResNetForImageClassification", 11_689_512,
        {"model_type": "resnet", "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512],
         "depths": [2, 2, 2, 2], "layer_type": "basic", "hidden_act": "relu",
         "downsample_in_first_stage": False, "num_channels": 3, **LABELS},
    ),
}  # fmt: skip
FAMILIES = (
    Family(
        model_type="resnet", rows=ROWS, tiny=TINY, published=PUBLISHED, base="resnet-image",
        shows={"downsample_in_bottleneck": "resnet-model", "out_features": "resnet-backbone",
               "out_indices": "resnet-backbone-indices"},
        values={"embedding_size": 12, "hidden_act": "gelu", "hidden_sizes": (12, 16, 32),
                "depths": (1, 1, 1),
                "layer_type": "bottleneck", "downsample_in_first_stage": True,
                "downsample_in_bottleneck": True, "out_features": ("stage1",),
                "out_indices": (2,)},
        refused=("num_channels",),
    ),
)  # fmt: skip
