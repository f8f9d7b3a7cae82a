"""Images inside texts: as many places as vectors, or an error that counts both."""

import dataclasses
from typing import Any

import hypothesis
import jax
import matrix_case as cases
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from zoo.models import qwen2_5_vl


def given(id: str) -> tuple:
    one = cases.case(id, 0.3)
    return one.model, cases.inputs(one.row)


def test_more_images_than_places():
    model, inputs = given("llava-generation")
    inputs["pixel_values"] = np.concatenate([inputs["pixel_values"]] * 2)
    with pytest.raises(ValueError, match=r"16 image tokens \(95\), but the images given make 32"):
        model(**inputs)


def test_fewer_images_than_places():
    model, inputs = given("llava-generation")
    inputs["pixel_values"] = inputs["pixel_values"][:1]
    with pytest.raises(ValueError, match=r"16 image tokens \(95\), but the images given make 4"):
        model(**inputs)


def test_an_image_without_a_text():
    model, inputs = given("llava-generation")
    with pytest.raises(ValueError, match="found neither, expected input_ids or inputs_embeds"):
        model(pixel_values=inputs["pixel_values"])


def test_ids_outside_the_vocabulary():
    model, inputs = given("llava-generation")
    inputs["input_ids"][3, 6] = 100
    with pytest.raises(ValueError, match="input_ids holds 100, expected 0 to 99"):
        model(**inputs)


def test_vectors_in_place_of_ids_tell_where_images_stand():
    model, inputs = given("llava-generation")
    table = np.asarray(model.params["text"]["embed"]["weight"])
    ids = inputs.pop("input_ids")
    found = model(inputs_embeds=table[ids], **inputs)
    expected = model(input_ids=ids, **inputs)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)


def test_more_patches_than_grids_speak_of():
    model, inputs = given("qwen2_vl-generation")
    inputs["image_grid_thw"] = inputs["image_grid_thw"][:2]
    with pytest.raises(ValueError, match="holds 32 patches, but image_grid_thw speaks"):
        model(**inputs)


def test_more_grids_than_places():
    model, inputs = given("qwen2_vl-generation")
    for name in ("image_grid_thw", "pixel_values"):
        inputs[name] = np.concatenate([inputs[name]] * 2)
    with pytest.raises(ValueError, match=r"8 image tokens \(95\), but the images given make 16"):
        model(**inputs)


def test_patches_without_their_grid():
    model, inputs = given("qwen2_5_vl-generation")
    del inputs["video_grid_thw"]
    with pytest.raises(ValueError, match="found no video_grid_thw, expected it beside videos"):
        model(**inputs)


def test_a_grid_that_cannot_be_merged():
    model, inputs = given("qwen2_5_vl-generation")
    inputs["image_grid_thw"] = inputs["image_grid_thw"] * 0 + [[1, 1, 16], [1, 2, 4], [1, 4, 2]]
    with pytest.raises(ValueError, match="multiples of spatial_merge_size 2"):
        model(**inputs)


@pytest.mark.parametrize("id", ["qwen2_vl-generation", "qwen2_5_vl-seconds"])
def test_ids_tell_what_is_an_image(id: str):
    model, inputs = given(id)
    expected = model(**inputs).logits
    del inputs["mm_token_type_ids"]
    np.testing.assert_array_equal(model(**inputs).logits, expected)


def test_a_tower_of_another_width():
    model, inputs = given("qwen2_vl-generation")
    tower = dataclasses.replace(model.config.vision_config, hidden_size=40)
    config = dataclasses.replace(model.config, vision_config=tower)
    model = dataclasses.replace(model, forward=model.forward._replace(config=config))
    with pytest.raises(ValueError, match="vectors of width 40, expected hidden_size 32"):
        model(**inputs)


@pytest.mark.parametrize("id", ["qwen2_vl-generation", "qwen2_5_vl-generation"])
def test_patches_beyond_the_last_image_change_nothing(id: str):
    model, inputs = given(id)
    inputs = {k: x.astype(np.int32) if x.dtype.kind == "i" else x for k, x in inputs.items()}
    apply = jax.jit(model.apply)
    expected = apply(model.params, **inputs).logits
    more = np.full((12, inputs["pixel_values"].shape[1]), 7, np.float32)
    inputs["pixel_values"] = np.concatenate([inputs["pixel_values"], more])
    assert cases.error(apply(model.params, **inputs).logits, expected) < 1e-6


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=30)
def test_positions_are_those_of_transformers(data):
    """Texts of any layout: runs of text, images and videos, padding anywhere at the sides."""
    draw = data.draw
    case = cases.case("qwen2_5_vl-generation", 0.3)
    reference: Any = case.reference
    config = case.model.config
    grids, seconds, rows = {1: [], 2: []}, [], []
    for _ in range(draw(st.integers(1, 3))):
        row = [0] * draw(st.integers(0, 2))
        for _ in range(draw(st.integers(0, 3))):
            kind = draw(st.sampled_from((1, 2)))
            grid = [
                draw(st.integers(1, 3)),
                2 * draw(st.integers(1, 3)),
                2 * draw(st.integers(1, 3)),
            ]
            grids[kind].append(grid)
            if kind == 2:
                seconds.append(draw(st.sampled_from((0.25, 0.7, 1.0, 3.3))))
            row += [kind] * (grid[0] * grid[1] * grid[2] // 4) + [0] * draw(st.integers(1, 3))
        rows.append(row or [0])
    length = max(map(len, rows)) + 2
    lefts = [draw(st.integers(0, length - len(row))) for row in rows]
    types, keep = np.zeros((2, len(rows), length), np.int64)
    for i, (left, row) in enumerate(zip(lefts, rows, strict=True)):
        types[i, left : left + len(row)] = row
        keep[i, left : left + len(row)] = 1
    found = {name: np.array(grids[i]) if grids[i] else None for i, name in
             ((1, "image_grid_thw"), (2, "video_grid_thw"))}  # fmt: skip
    if all(x is None for x in found.values()):
        return
    given = {
        "mm_token_type_ids": types, "attention_mask": keep, "input_ids": types, **found,
        "second_per_grid_ts": np.array(seconds, np.float32) if seconds else None,
    }  # fmt: skip
    tensors = {k: None if x is None else torch.from_numpy(x) for k, x in given.items()}
    expected, _ = reference.model.get_rope_index(**tensors)
    ours = qwen2_5_vl.positions(
        config, {k: x if x is None or x.dtype.kind == "f" else x.astype(np.int32)
                 for k, x in given.items()}
    )  # fmt: skip
    np.testing.assert_array_equal(ours, expected)
