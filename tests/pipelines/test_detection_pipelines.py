"""Object detection and segmentation against transformers' pipelines, on images of several sizes."""

import json

import numpy as np
import pytest
import transformers
from PIL import Image

import zoo

BACKBONE = {
    "embedding_size": 8, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1],
    "out_features": ["stage2", "stage3", "stage4"],
}  # fmt: skip
CLASSES = {
    "object-detection": "DetrForObjectDetection",
    "image-segmentation": "DetrForSegmentation",
}
NAMES = {i: f"thing {i}" for i in range(4)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By task, a folder with a tiny detector of random weights and settings that resize nothing."""
    made = {}
    for task, name in CLASSES.items():
        config = transformers.DetrConfig(
            use_timm_backbone=False, backbone_config=transformers.ResNetConfig(**BACKBONE),
            d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=8,
            decoder_attention_heads=4, encoder_ffn_dim=20, decoder_ffn_dim=20, num_queries=9,
            id2label=NAMES, label2id={name: i for i, name in NAMES.items()},
        )  # fmt: skip
        made[task] = tmp_path_factory.mktemp(task)
        transformers.set_seed(3)
        model = getattr(transformers, name)(config).eval()
        for p in model.parameters():
            p.data.normal_(0, 0.3)
        getattr(model, "detr", model).class_labels_classifier.bias.data[-1] = -9  # something
        model.save_pretrained(made[task])
        settings = {"image_processor_type": "DetrImageProcessor", "do_resize": False}
        (made[task] / "preprocessor_config.json").write_text(json.dumps(settings))
    return made


def test_object_detection(folders, reference, same, pictures):
    folder = folders["object-detection"]
    ours, theirs = (make("object-detection", folder) for make in (zoo.pipeline, reference))
    for threshold in (0.0, 0.4):
        expected = [theirs(path, threshold=threshold) for path in pictures]
        same(ours(pictures, threshold=threshold), expected)
    assert len(expected[0]) > 1
    same(ours(Image.open(pictures[1]), threshold=0.4), expected[1])
    same(ours(np.asarray(Image.open(pictures[2])), threshold=0.4), expected[2])


@pytest.mark.parametrize("subtask", [None, "panoptic", "instance", "semantic"])
def test_image_segmentation(folders, reference, same, pictures, subtask):
    folder = folders["image-segmentation"]
    ours, theirs = (make("image-segmentation", folder) for make in (zoo.pipeline, reference))
    options = {"subtask": subtask, "threshold": 0.3, "overlap_mask_area_threshold": 0.05}
    options["mask_threshold"] = 0.05
    for path, found in zip(pictures, ours(pictures, **options), strict=True):
        expected = theirs(path, **options)
        assert expected
        for x, y in zip(found, expected, strict=True):
            assert x["label"] == y["label"]
            assert x["score"] == y["score"] or abs(x["score"] - y["score"]) < 1e-5
            assert (x["mask"].mode, x["mask"].size) == ("L", y["mask"].size)
            assert (np.asarray(x["mask"]) != np.asarray(y["mask"])).mean() < 0.005


def test_options_that_cannot_be_are_refused(folders):
    detect = zoo.pipeline("object-detection", folders["object-detection"])
    with pytest.raises(ValueError, match="threshold: found 2, expected a number from 0 to 1"):
        detect(np.zeros((40, 40, 3), np.uint8), threshold=2)
    with pytest.raises(TypeError, match="object-detection: does not take subtask"):
        detect(np.zeros((40, 40, 3), np.uint8), subtask="instance")
    segment = zoo.pipeline("image-segmentation", folders["image-segmentation"])
    with pytest.raises(ValueError, match="subtask: found 'stuff', expected one of panoptic"):
        segment(np.zeros((40, 40, 3), np.uint8), subtask="stuff")
    with pytest.raises(ValueError, match="expected the path of an image"):
        detect([3])
