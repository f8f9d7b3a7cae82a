"""Mamba 2 beyond the matrix: how files spell it, what is refused, what its cache holds."""

import json
import math

import jax
import numpy as np
import pytest
from families import FAMILIES
from matrix_case import error
from safetensors.numpy import load_file, save_file

import zoo
from bridges import config as configs
from zoo import registry

CONFIG = {
    **FAMILIES["mamba2"].tiny, "model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"],
}  # fmt: skip
IDS = np.arange(1, 23, dtype=np.int32).reshape(2, 11)
ENDLESS = [0.0, {"__float__": "Infinity"}]


@pytest.fixture(scope="module")
def model():
    return zoo.from_config(CONFIG)


def parsed(**changes):
    return configs.parse(registry.architecture("mamba2"), CONFIG | changes)


def test_infinity_is_read_as_python_and_transformers_write_it(tmp_path):
    path = tmp_path / "config.json"
    for text in ("[0.0, Infinity]", '[0.0, {"__float__": "Infinity"}]'):
        path.write_text(json.dumps(CONFIG)[:-1] + f', "time_step_limit": {text}}}')
        raw = configs.read(tmp_path)
        assert raw["time_step_limit"] == ENDLESS
        assert parsed(**raw).time_step_limit == (0.0, math.inf)
        assert configs.dump(registry.architecture("mamba2"), parsed(**raw), raw, {}) == raw
    path.write_text('{"time_step_limit": [0.0, NaN]}')
    with pytest.raises(ValueError, match="holds NaN, which is not JSON"):
        configs.read(tmp_path)
    with pytest.raises(ValueError, match="layer_norm_epsilon: found inf, expected 0 to 1"):
        parsed(layer_norm_epsilon={"__float__": "Infinity"})


def test_a_config_with_infinity_is_saved_as_json(model, tmp_path):
    folder = zoo.from_config(CONFIG | {"time_step_limit": [0.1, math.inf]}).save_pretrained(
        tmp_path / "saved"
    )
    text = (folder / "config.json").read_text()
    assert json.loads(text)["time_step_limit"] == [0.1, {"__float__": "Infinity"}]
    assert zoo.from_pretrained(folder).config.time_step_limit == (0.1, math.inf)


def test_the_embedding_by_its_name_in_the_paper_s_code(model, tmp_path):
    folder = model.save_pretrained(tmp_path / "saved")
    tensors = load_file(folder / "model.safetensors")
    tensors["backbone.embedding.weight"] = tensors.pop("backbone.embeddings.weight")
    save_file(tensors, folder / "model.safetensors")
    again = zoo.from_pretrained(folder)
    assert error(again(input_ids=IDS).logits, model(input_ids=IDS).logits) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 6}, "num_heads: 6 of head_dim 8 do not make expand 2 times hidden_size 32"),
        ({"n_groups": 3}, "num_heads: 8 is not a multiple of n_groups 3"),
        ({"time_step_limit": [0.5, 0.1]}, "time_step_limit: found 0.5 to 0.1, expected two rising"),
        ({"time_step_limit": [0.5]}, "time_step_limit: found"),
        ({"time_step_min": 1.0}, "time_step_min: found 1.0 beside time_step_max 0.1"),
        ({"time_step_min": 0.0}, "time_step_min: found 0.0 beside"),
        ({"hidden_act": "what"}, "hidden_act: activation 'what' is not known"),
        ({"conv_kernel": 0}, "conv_kernel: found 0, expected 1 to"),
        ({"n_heads": 8}, "n_heads: unknown key, nearest is num_heads"),
    ],
)
def test_configs_that_make_no_model_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        parsed(**changes)


def test_a_mask_of_pairs_is_refused(model):
    with pytest.raises(
        ValueError, match=r"attention_mask has shape \(2, 11, 11\), expected one nu"
    ):
        model(input_ids=IDS, attention_mask=np.ones((2, 11, 11), np.int32))


def test_the_cache_is_of_one_size_for_any_text(model):
    def sizes(length):
        return [x.shape for x in jax.tree.leaves(model.init_cache(2, length).layers)]

    assert sizes(3) == sizes(3000)
    out = model(input_ids=IDS, cache=model.init_cache(2, 11))
    assert [x.shape for x in jax.tree.leaves(out.cache.layers)] == sizes(11)
    with pytest.raises(ValueError, match="1 tokens do not fit a cache of 11 of which 11 are taken"):
        model(input_ids=IDS[:, :1], cache=out.cache)


def test_half_precision_keeps_the_state_in_float32():
    model = zoo.from_config(CONFIG, dtype="bfloat16")
    whole = model(input_ids=IDS).logits
    assert whole.dtype == np.float32
    out = model(input_ids=IDS[:, :6], cache=model.init_cache(2, 11))
    assert {x.ssm.dtype.name for x in out.cache.layers} == {"float32"}
    assert {x.conv["x"].dtype.name for x in out.cache.layers} == {"bfloat16"}
    rest = model(input_ids=IDS[:, 6:], cache=out.cache).logits
    assert error(np.concatenate([out.logits, rest], axis=1), whole) < 0.05


def test_weights_begin_as_in_the_paper(model):
    mixer = model.params["layers"][0]["mixer"]
    np.testing.assert_allclose(np.exp(mixer["rate"]), np.arange(1, 9), rtol=1e-5)
    np.testing.assert_array_equal(mixer["skip"], 1)
    dt = np.log1p(np.exp(np.asarray(mixer["step"])))
    assert ((dt >= 0.001 * 0.999) & (dt <= 0.1 * 1.001)).all()
    edge = 1 / math.sqrt(4)
    largest = max(np.abs(w["weight"]).max() for w in mixer["conv"].values())
    assert 0.9 * edge < largest <= edge
