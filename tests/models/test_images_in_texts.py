"""Images inside texts: as many places as vectors, or an error that counts both."""

import matrix_case as cases
import numpy as np
import pytest


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
