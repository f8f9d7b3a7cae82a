"""Backbones and the files of their siblings, and what vision models refuse."""

import jax
import matrix_case as cases
import numpy as np
import pytest
from families import BY_ID, FAMILIES

import zoo
from zoo import spec

FILES = (
    ("resnet-image", "backbone", "feature_maps"),
    ("resnet-backbone", "feature-extraction", "last_hidden_state"),
    ("dinov2-image", "backbone", "feature_maps"),
    ("dinov2-backbone", "image-classification", "logits"),
    ("swin-image", "backbone", "feature_maps"),
    ("swin-backbone", "feature-extraction", "last_hidden_state"),
)


@pytest.mark.parametrize(("id", "task", "field"), FILES, ids=[f[0] for f in FILES])
def test_a_file_of_a_sibling_loads(id: str, task: str, field: str):
    one = cases.case(id, 0.3)
    model = zoo.from_pretrained(one.folder, task=task)
    assert field in model(**cases.inputs(one.row))
    kept = {name: x for name, x in zip(*_flat(one.model), strict=True)}
    same = [np.array_equal(x, kept[n]) for n, x in zip(*_flat(model), strict=True) if n in kept]
    assert len(same) > 10
    assert all(same)


def _flat(model: zoo.Model) -> tuple[list[tuple], list[np.ndarray]]:
    """Names without the place of the body, with their part of the tensor, and arrays."""
    prefix = f"{model.forward.task.prefix}."
    leaves = spec.leaves(model.specs)
    return [(s.names[0].removeprefix(prefix), s.part) for s in leaves], jax.tree.leaves(
        model.params
    )


REFUSED = (
    ("resnet", {"layer_type": "wide"}, "layer_type: found 'wide', expected basic or bottleneck"),
    ("resnet", {"depths": [1, 2]}, "hidden_sizes: found 3 sizes, expected one for each of 2"),
    ("resnet", {"out_features": ["stage9"]}, "out_features: found 'stage9', expected of stem"),
    ("resnet", {"out_indices": [4]}, "out_indices: found 4, expected below 4"),
    ("resnet", {"out_indices": [2, 1]}, "each once and in their order"),
    ("resnet", {"out_indices": [2], "out_features": ["stem"]}, "which differ; set one to null"),
    ("swin", {"num_heads": [4]}, "num_heads: found 1 numbers, expected one for each of 2 depths"),
    ("swin", {"embed_dim": 10}, "embed_dim: 10 makes 10 channels in stage 1, no multiple of its 4"),
    ("dinov2", {"image_size": 3}, "image_size: 3 holds no patch of patch_size 4"),
)


@pytest.mark.parametrize(("kind", "changes", "message"), REFUSED)
def test_a_config_that_cannot_be_is_refused(kind: str, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        zoo.from_config({"model_type": kind, **FAMILIES[kind].tiny, **changes})


def test_images_that_do_not_fit_are_refused():
    swin = cases.case("swin-model", 0.02).model
    with pytest.raises(ValueError, match="found a map of 4 x 2 in one of the stages, expected at"):
        swin(pixel_values=np.zeros((1, 3, 16, 8), np.float32))
    absolute = zoo.from_config(
        {"model_type": "swin", **FAMILIES["swin"].tiny, "use_absolute_embeddings": True}
    )
    with pytest.raises(ValueError, match="found 26 x 24 pixels, expected 24 x 24; resize"):
        absolute(pixel_values=np.zeros((1, 3, 26, 24), np.float32))
    mask = np.ones((4, 7), bool)
    for id, count in (("dinov2-model", 9), ("swin-model", 144)):
        given = cases.inputs(BY_ID[id]) | {"bool_masked_pos": mask}
        with pytest.raises(ValueError, match=rf"has shape \(4, 7\), expected \(4, {count}\)"):
            cases.case(id, 0.02).model(**given)
    given = cases.inputs(BY_ID["swin-model"]) | {"bool_masked_pos": np.ones((4, 144), bool)}
    with pytest.raises(ValueError, match="bool_masked_pos needs a mask token"):
        swin(**given)
    restore = cases.case("swin-masked-image-whole", 0.02).model
    with pytest.raises(ValueError, match="found an image of 72 patches, expected a square"):
        restore(pixel_values=np.zeros((1, 3, 24, 48), np.float32))
