"""What a model may be called with, and how the rest is refused; the model as a pytree."""

import copy
import dataclasses
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import zoo

SIZES = {
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 8,
}
CONFIGS = {
    "bert": SIZES | {"model_type": "bert", "architectures": ["BertModel"]},
    "llama": SIZES | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "vit": {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 8,
        "patch_size": 4,
        "num_labels": 3,
    },
}
IDS = np.arange(8).reshape(2, 4)
PIXELS = np.linspace(-1, 1, 2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)
EMBEDS = np.ones((2, 4, 8), np.float32)


@pytest.fixture(scope="module")
def models():
    return {name: zoo.from_config(config) for name, config in CONFIGS.items()}


def first(output):
    return np.asarray(output[0])


@pytest.mark.parametrize(
    ("name", "inputs", "match"),
    [
        ("bert", {}, "found neither, expected input_ids or inputs_embeds; pass one of them"),
        ("bert", {"input_ids": None}, "found neither, expected input_ids or inputs_embeds"),
        ("vit", {}, "found nothing, expected pixel_values"),
        ("bert", {"input_ids": IDS, "inputs_embeds": EMBEDS}, "input_ids and inputs_embeds, exp"),
        ("bert", {"input_ids": IDS[0]}, r"input_ids has shape \(4,\), expected 2 dimensions"),
        ("bert", {"input_ids": IDS[None]}, r"has shape \(1, 2, 4\), expected 2 dimensions"),
        ("bert", {"input_ids": 3}, r"input_ids has shape \(\), expected 2 dimensions"),
        ("bert", {"input_ids": IDS[:0]}, r"input_ids has shape \(0, 4\), expected no empty axis"),
        ("bert", {"input_ids": IDS[:, :0]}, r"input_ids has shape \(2, 0\), expected no empty"),
        ("bert", {"input_ids": []}, r"input_ids has dtype float32, expected integers"),
        ("bert", {"input_ids": IDS * 1.0}, "input_ids has dtype float32, expected integers"),
        ("bert", {"input_ids": IDS > 2}, "input_ids has dtype bool, expected integers"),
        ("bert", {"input_ids": IDS - 1}, "input_ids holds -1, expected 0 to 23; is this the"),
        ("bert", {"input_ids": IDS + 20}, "input_ids holds 27, expected 0 to 23"),
        ("bert", {"input_ids": IDS + 2**40}, "input_ids: holds numbers beyond 32 bits"),
        ("bert", {"input_ids": (IDS + 2**31).astype(np.uint32)}, "beyond 32 bits"),
        ("bert", {"input_ids": [[2**70]]}, "input_ids: found object, expected numbers"),
        ("bert", {"input_ids": [[1, 2], [3]]}, "found rows of different lengths, expected an arr"),
        ("bert", {"input_ids": np.array([[None]])}, "input_ids: found object, expected numbers"),
        ("bert", {"input_ids": "hello"}, "input_ids: found <U5, expected numbers; encode them"),
        ("bert", {"input_ids": [["a", "b"]]}, "input_ids: found <U1, expected numbers"),
        ("bert", {"inputs_embeds": EMBEDS[..., :7]}, "has width 7, expected hidden_size 8"),
        ("bert", {"inputs_embeds": EMBEDS.astype(int)}, "dtype int32, expected floats; cast it"),
        ("bert", {"input_ids": np.zeros((1, 9), int)}, "9 tokens, expected at most .* 8; trunc"),
        ("bert", {"input_ids": IDS, "attention_mask": IDS[0]}, r"shape \(4,\), expected \(2, 4\)"),
        ("bert", {"input_ids": IDS, "attention_mask": IDS.T}, r"shape \(4, 2\), expected \(2, 4\)"),
        ("bert", {"input_ids": IDS, "attention_mask": np.ones((2, 4, 5))}, r"\(2, 4, 5\), expec"),
        ("bert", {"input_ids": IDS, "attention_mask": "x"}, "found <U1, expected numbers"),
        ("bert", {"input_ids": IDS, "token_type_ids": IDS}, "token_type_ids holds 7, expected 0 t"),
        ("bert", {"input_ids": IDS, "token_type_ids": -IDS}, "token_type_ids holds -7, expected"),
        ("bert", {"input_ids": IDS, "token_type_ids": IDS[0]}, r"has shape \(4,\), expected \(2"),
        ("bert", {"input_ids": IDS, "position_ids": 3}, r"position_ids has shape \(\), expected"),
        (
            "bert",
            {"input_ids": IDS, "position_ids": IDS + 1},
            "position_ids holds 8, expected 0 to",
        ),
        ("llama", {"input_ids": IDS, "position_ids": IDS * 1.0}, "dtype float32, expected integ"),
        ("llama", {"input_ids": IDS, "position_ids": np.zeros((3, 4), int)}, r"\(3, 4\), expected"),
        ("llama", {"input_ids": IDS, "cache": 3}, "cache: found int, expected what init_cache ret"),
        ("llama", {"input_ids": IDS, "dropout_key": 0}, "dropout_key: found int, expected jax.ran"),
        ("vit", {"pixel_values": PIXELS[0]}, r"has shape \(3, 8, 8\), expected 4 dimensions"),
        ("vit", {"pixel_values": PIXELS[:0]}, "expected no empty axis"),
        ("vit", {"pixel_values": PIXELS[:, :, :7]}, "found 7 x 8 pixels, expected 8 x 8; resize"),
        ("vit", {"pixel_values": PIXELS[:, :1]}, r"shape \(2, 1, 8, 8\), expected \[batch, 3"),
        ("vit", {"pixel_values": np.moveaxis(PIXELS, 1, 3)}, r"found shape \(2, 8, 8, 3\), expec"),
        ("vit", {"pixel_values": np.zeros((2, 3, 8, 8), np.uint8)}, "uint8, expected floats; let"),
        (
            "vit",
            {"pixel_values": PIXELS, "attention_mask": IDS},
            r"shape \(2, 4\), expected \(2, 5",
        ),
    ],
)
def test_what_is_refused(models, name, inputs, match):
    with pytest.raises(ValueError, match=match) as caught:
        models[name](**inputs)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_inputs_that_a_model_does_not_take(models):
    with pytest.raises(TypeError, match="does not take input_idz; nearest is input_ids; it takes"):
        models["bert"](input_idz=IDS)
    with pytest.raises(TypeError, match=r"does not take input_ids; .*it takes pixel_values, "):
        models["vit"](input_ids=IDS)


def test_caches_that_do_not_fit(models):
    llama = models["llama"]
    other = zoo.from_config(CONFIGS["llama"] | {"hidden_size": 16}).init_cache(2, 8)
    for cache, match in (
        (llama.init_cache(2, 3), "4 tokens do not fit a cache of 3 of which 0 are taken; make a"),
        (llama.init_cache(3, 8), "2 rows do not fit a cache of 3; make another"),
        (other, "found a cache of another model, expected one of llama with these sizes"),
    ):
        with pytest.raises(ValueError, match=match):
            llama(input_ids=IDS, cache=cache)
    cache = llama(input_ids=IDS, cache=llama.init_cache(2, 6)).cache
    with pytest.raises(ValueError, match="4 tokens do not fit a cache of 6 of which 4 are taken"):
        llama(input_ids=IDS, cache=cache)
    with pytest.raises(
        ValueError, match=r"attention_mask has shape \(2, 4, 4\), expected \(2, 4\)"
    ):
        llama(input_ids=IDS, cache=llama.init_cache(2, 6), attention_mask=np.ones((2, 4, 4)))
    for batch, length in ((0, 1), (1, -1), (1, 1.5), ("a", 1), (1, None)):
        with pytest.raises(ValueError, match=r"init_cache: .* expected a number above 0"):
            llama.init_cache(batch, length)
    with pytest.raises(ValueError, match=r"init_cache: a cache would take .* of memory"):
        llama.init_cache(2**20, 2**30)
    with pytest.raises(
        ValueError, match="ViTForImageClassification does not generate and has no cache"
    ):
        models["vit"].init_cache(1, 1)


@pytest.mark.parametrize(
    "ids",
    [
        IDS.tolist(),
        [row.tolist() for row in IDS],
        list(IDS),
        IDS.astype(np.uint8),
        IDS.astype(np.int64),
        IDS.astype(np.uint64),
        jnp.asarray(IDS),
        torch.tensor(IDS),
    ],
    ids=lambda ids: f"{type(ids).__name__}-{getattr(ids, 'dtype', '')}",
)
def test_arrays_of_any_kind(models, ids):
    want = first(models["bert"](input_ids=np.asarray(IDS, np.int32)))
    np.testing.assert_allclose(first(models["bert"](input_ids=ids)), want, atol=1e-6)


def test_images_and_masks_of_any_kind(models):
    vit, bert = models["vit"], models["bert"]
    want = first(vit(pixel_values=PIXELS))
    for pixels in (
        PIXELS.astype(np.float64),
        PIXELS.tolist(),
        torch.tensor(PIXELS, requires_grad=True),
    ):
        np.testing.assert_array_equal(first(vit(pixel_values=pixels)), want)
    half = torch.tensor(PIXELS).bfloat16()
    rounded = np.asarray(half.float())
    np.testing.assert_array_equal(first(vit(pixel_values=half)), first(vit(pixel_values=rounded)))
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    want = first(bert(input_ids=IDS, attention_mask=mask))
    pairs = np.broadcast_to(mask[:, None, :], (2, 4, 4))
    for same in (
        mask.astype(bool),
        mask.astype(np.float32),
        mask.tolist(),
        torch.tensor(mask),
        pairs,
    ):
        got = first(bert(input_ids=IDS, attention_mask=same))
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_shapes_are_checked_under_jit_and_values_are_not(models):
    bert, llama = models["bert"], models["llama"]
    call = jax.jit(lambda m, inputs: m(**inputs)[0])
    want = first(bert(input_ids=IDS))
    np.testing.assert_allclose(call(bert, {"input_ids": IDS}), want, atol=1e-6)
    assert call(bert, {"input_ids": IDS + 99}).shape == (2, 4, 8)  # numbers are not known here
    cache = llama.init_cache(2, 5)
    assert call(llama, {"input_ids": IDS, "cache": cache}).shape == (2, 4, 24)
    for model, inputs, match in (
        (bert, {"input_ids": IDS * 1.0}, "input_ids has dtype float32, expected integers"),
        (bert, {"input_ids": IDS, "attention_mask": IDS[0]}, "attention_mask has shape"),
        (llama, {"input_ids": IDS, "cache": llama.init_cache(2, 3)}, "do not fit a cache of 3"),
        (models["vit"], {"pixel_values": PIXELS[:, :, :7]}, "found 7 x 8 pixels"),
    ):
        with pytest.raises(ValueError, match=match):
            call(model, inputs)


def test_a_model_passes_through_transformations(models):
    bert = models["bert"]
    one = jax.vmap(lambda ids: bert(input_ids=ids[None])[0][0])(jnp.asarray(IDS))
    np.testing.assert_allclose(one, first(bert(input_ids=IDS)), atol=1e-6)
    gradient = jax.grad(lambda m: m(input_ids=IDS)[0].mean())(bert)
    assert isinstance(gradient, zoo.Model)
    assert gradient.forward == bert.forward
    double = jax.tree.map(lambda x: 2 * x, bert)
    assert double.num_params == bert.num_params
    assert jax.tree.structure(double) == jax.tree.structure(bert)
    donated = jax.jit(lambda m: jax.tree.map(lambda x: x + 1, m), donate_argnums=0)(double)
    assert isinstance(donated, zoo.Model)
    assert all(x.is_deleted() for x in jax.tree.leaves(double))
    shapes = jax.eval_shape(lambda: zoo.from_config(CONFIGS["bert"]))
    assert jax.tree.map(lambda x: x.shape, shapes.params) == jax.tree.map(
        lambda x: x.shape, bert.params
    )


def test_a_model_is_copied_pickled_and_shown(models):
    bert = models["bert"]
    for other in (copy.copy(bert), copy.deepcopy(bert), pickle.loads(pickle.dumps(bert))):
        np.testing.assert_array_equal(first(other(input_ids=IDS)), first(bert(input_ids=IDS)))
        assert other != bert  # as arrays, models are compared by what they are, not what they hold
        assert other.config == bert.config
    assert bert == bert
    assert len({bert, bert}) == 1
    assert re.fullmatch(
        r"Model\(BertModel, feature-extraction, [\d,]+ parameters, float32\)", str(bert)
    )
    assert "None)" in repr(jax.tree.map(jnp.shape, bert))
    assert "None)" in repr(jax.tree.map(lambda x: None, bert))
    with pytest.raises(dataclasses.FrozenInstanceError):
        bert.params = {}


def test_huge_configs_have_shapes_without_memory():
    huge = CONFIGS["llama"] | {"vocab_size": 2**30, "hidden_size": 2**16}
    model = jax.eval_shape(lambda: zoo.from_config(huge))
    assert model.num_params > 2**46
