"""The processors of detectors and of ConvNext against transformers' on Pillow, and objects back."""

import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.processors import DetectionProcessor, ImageProcessor, Processor

SMALL = {"shortest_edge": 40, "longest_edge": 70}


def reference(kind: str, **keys):
    module = f"transformers.models.{kind.lower()}.image_processing_pil_{kind.lower()}"
    return getattr(importlib.import_module(module), f"{kind}ImageProcessorPil")(**keys)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("edge", [48, 224, 384, 400])
@pytest.mark.parametrize("shape", [(50, 50), (37, 91), (300, 201)], ids=str)
def test_convnext(edge: int, shape: tuple[int, int]):
    keys = {"size": {"shortest_edge": edge}, "crop_pct": 0.875}
    ours = ImageProcessor("ConvNextFeatureExtractor", **keys)(noise(*shape), return_tensors="np")
    theirs = reference("ConvNext", **keys)(noise(*shape), return_tensors="np")
    np.testing.assert_allclose(ours.pixel_values, theirs["pixel_values"], rtol=0, atol=1e-4)


def test_a_published_file_of_resnet(tmp_path):
    values = {"crop_pct": 0.875, "do_normalize": True, "do_resize": True, "resample": 3,
              "feature_extractor_type": "ConvNextFeatureExtractor", "size": 224,
              "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    processor = Processor.from_pretrained(tmp_path)
    assert processor.size == {"shortest_edge": 224}
    assert processor(noise(90, 130)).pixel_values.shape == (1, 3, 224, 224)
    again = ImageProcessor.from_pretrained(processor.save_pretrained(tmp_path).parent)
    assert again == processor


CASES = {
    "sizes": {"size": SMALL},
    "published": {},
    "old": {"size": 60, "max_size": 90},
    "sides": {"size": {"height": 30, "width": 50}},
    "not-padded": {"size": {"height": 30, "width": 50}, "do_pad": False},
    "padded-to": {"size": SMALL, "pad_size": {"height": 75, "width": 80}},
    "raw": {"size": SMALL, "do_normalize": False, "do_rescale": False},
}


@pytest.mark.parametrize("name", CASES)
def test_detr(name: str, tmp_path):
    images = [noise(64, 81), noise(33, 90, 1), noise(50, 50, 2), noise(100, 31, 3)]
    keys = CASES[name]
    values = {"feature_extractor_type": "DetrFeatureExtractor", "format": "coco_detection", **keys}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    processor = Processor.from_pretrained(tmp_path)
    assert isinstance(processor, DetectionProcessor)
    theirs = reference("Detr", **keys)(images, return_tensors="np")
    again = DetectionProcessor.from_pretrained(processor.save_pretrained(tmp_path / "new").parent)
    for ours in (processor(images, return_tensors="np"), again(images, return_tensors="np")):
        assert set(ours) == set(theirs)
        np.testing.assert_allclose(ours.pixel_values, theirs["pixel_values"], rtol=0, atol=1e-3)
        if "pixel_mask" in theirs:
            np.testing.assert_array_equal(ours.pixel_mask, theirs["pixel_mask"])


def outputs() -> tuple[SimpleNamespace, SimpleNamespace]:
    """The same output as arrays and as tensors."""
    rng = np.random.default_rng(0)
    arrays = {
        "logits": rng.normal(0, 3, (3, 12, 5)),
        "pred_boxes": rng.uniform(0, 1, (3, 12, 4)),
        "pred_masks": rng.normal(0, 4, (3, 12, 9, 13)),
    }
    arrays = {name: x.astype(np.float32) for name, x in arrays.items()}
    arrays["logits"][1, :, -1] = 30  # nothing in the second image
    tensors = {name: torch.from_numpy(x.copy()) for name, x in arrays.items()}
    return SimpleNamespace(**arrays), SimpleNamespace(**tensors)


SIZED = (None, [(40, 61), (30, 30), (9, 100)])


@pytest.mark.parametrize("sizes", SIZED, ids=["shares", "sizes"])
def test_objects(sizes):
    (ours, theirs), processor = outputs(), DetectionProcessor.from_dict({})
    found = processor.post_process_object_detection(ours, 0.4, sizes)
    expected = reference("Detr").post_process_object_detection(theirs, 0.4, sizes)
    assert len(found[0]["scores"]) > 2
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, x in one.items():
            np.testing.assert_allclose(x, other[key].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZED, ids=["small", "sizes"])
def test_segments(sizes):
    (ours, theirs), processor = outputs(), DetectionProcessor.from_dict({})
    other = reference("Detr")
    found = processor.post_process_semantic_segmentation(ours, sizes)
    expected = other.post_process_semantic_segmentation(theirs, sizes)
    for x, y in zip(found, expected, strict=True):
        assert (x != y.numpy()).mean() < 0.002  # ties of rounding at the seams
    options = {"threshold": 0.4, "overlap_mask_area_threshold": 0.3, "target_sizes": sizes}
    for name, more in (("instance", {}), ("panoptic", {"label_ids_to_fuse": {0, 2}})):
        run = f"post_process_{name}_segmentation"
        found = getattr(processor, run)(ours, **options, **more)
        expected = getattr(other, run)(outputs()[1], **options, **more)
        for x, y in zip(found, expected, strict=True):
            assert (x["segmentation"] != y["segmentation"].numpy()).mean() < 0.002
            for a, b in zip(x["segments_info"], y["segments_info"], strict=True):
                assert {**a, "score": 0} == {**b, "score": 0}
                assert abs(a["score"] - b["score"]) < 2e-6
    run = "post_process_instance_segmentation"
    coco = {**options, "target_sizes": None, "return_coco_annotation": True}
    found, expected = (
        getattr(processor, run)(ours, **coco),
        getattr(other, run)(outputs()[1], **coco),
    )
    assert found[0]["segmentation"] == [list(map(int, x)) for x in expected[0]["segmentation"]]


def test_what_detectors_refuse():
    processor = DetectionProcessor.from_dict({"size": SMALL})
    with pytest.raises(ValueError, match="images: found an empty list"):
        processor([])
    with pytest.raises(ValueError, match="pad_size: found 20 x 20, expected at least the 40 x 40"):
        processor(noise(50, 50), pad_size={"height": 20, "width": 20})
    with pytest.raises(ValueError, match="found 2 shapes after resizing"):
        processor([noise(50, 50), noise(50, 60)], do_pad=False)
    with pytest.raises(ValueError, match=r"target_sizes: found the shape \(1, 2\)"):
        processor.post_process_object_detection(outputs()[0], target_sizes=[(4, 4)])
    with pytest.raises(ValueError, match="do_pad: found 'yes', expected true or false"):
        DetectionProcessor.from_dict({"do_pad": "yes"})
    with pytest.raises(ValueError, match="found the processor class 'ViTImageProcessor'"):
        DetectionProcessor.from_dict({"image_processor_type": "ViTImageProcessor"})
