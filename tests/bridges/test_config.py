"""`config.json` and Config: both spellings of both generations, and what is refused."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import config as configs
from zoo import registry
from zoo.layers.rope import Rope

ARCHITECTURES = list(registry.MODULES)


def parse(model_type: str, /, **raw):
    return configs.parse(registry.architecture(model_type), raw)


def dump(model_type: str, config, raw=None):
    return configs.dump(registry.architecture(model_type), config, raw or {}, {})


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_defaults_survive_writing_and_reading(model_type: str):
    config = registry.architecture(model_type).config()
    written = json.loads(configs.text(dump(model_type, config)))
    assert parse(model_type, **written) == config


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_original_key_survives(model_type: str):
    cls = registry.architecture(model_type).config
    fields = {f.name for f in dataclasses.fields(cls)}
    config = cls(**({"num_labels": 3} if "num_labels" in fields else {}))
    raw = dump(model_type, config) | {"transformers_version": "4.1.0", "use_cache": False}
    assert dump(model_type, config, raw) == raw
    other = {"initializer_range": 0.5} if "initializer_range" in fields else {}
    changed = dataclasses.replace(config, **other)
    assert dump(model_type, changed, raw) == raw | other


ROPES = [
    ({"rope_theta": 5.0}, Rope(rope_theta=5.0)),
    ({"rope_theta": 5.0, "rope_scaling": None}, Rope(rope_theta=5.0)),
    ({"rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}}, Rope(rope_theta=5.0)),
    (
        {"rope_theta": 5, "rope_scaling": {"type": "linear", "factor": 2}},
        Rope(rope_theta=5.0, rope_type="linear", factor=2.0),
    ),
    (
        {"rope_scaling": {"rope_type": "dynamic", "type": "dynamic", "factor": 2.0}},
        Rope(rope_type="dynamic", factor=2.0),
    ),
    (
        {
            "rope_theta": 7.0,
            "original_max_position_embeddings": 9,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0] * 64,
                "long_factor": [2] * 64,
            },
        },
        Rope(
            rope_theta=7.0,
            rope_type="longrope",
            original_max_position_embeddings=9,
            short_factor=(1.0,) * 64,
            long_factor=(2.0,) * 64,
        ),
    ),
]


@pytest.mark.parametrize(("raw", "rope"), ROPES)
@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3"])
def test_rotations_in_the_spelling_of_either_generation(model_type: str, raw: dict, rope: Rope):
    config = parse(model_type, head_dim=128, **raw)
    assert config.rope_parameters == rope
    assert dump(model_type, config, raw | {"head_dim": 128}).items() >= raw.items()
    assert parse(model_type, **dump(model_type, config)) == config


REFUSED = {
    "an unknown key": ("llama", {"hiden_size": 8}, "hiden_size: unknown key, nearest is hidden_si"),
    "a number for text": ("llama", {"hidden_act": 3}, "hidden_act: found 3, expected str"),
    "text for a number": ("bert", {"hidden_size": "8"}, "hidden_size: found '8', expected int"),
    "true for a number": ("bert", {"hidden_size": True}, "hidden_size: found True, expected int"),
    "a negative size": ("gpt2", {"n_embd": -8}, "n_embd: found -8, expected 1 to"),
    "two names that differ": ("gpt2", {"n_embd": 8, "hidden_size": 9}, "found 9, but n_embd 8"),
    "an unknown activation": ("bert", {"hidden_act": "glue"}, "activation 'glue' is not known"),
    "pruned heads": ("bert", {"pruned_heads": {"0": [1]}}, "pruned heads are not supported"),
    "cross-attention": ("gpt2", {"add_cross_attention": True}, "cross-attention is not supported"),
    "quantised weights": ("llama", {"quantization_config": {"bits": 4}}, "quantised checkpoints"),
    "a window where there is none": ("llama", {"sliding_window": 8}, "not supported by llama"),
    "biases where there are none": ("mistral", {"attention_bias": True}, "not supported by mistr"),
    "other layers": ("llama", {"layer_types": ["linear_attention"] * 32}, "layers of one kind"),
    "kinds of layers": ("qwen3", {"layer_types": ["full_attention"]}, "found 1 kinds, expected"),
    "an unknown kind": (
        "qwen2",
        {"layer_types": ["chunked"], "num_hidden_layers": 1},
        "layer_types: found chunked",
    ),
    "heads that do not divide": ("bert", {"hidden_size": 10}, "10 is not a multiple of num_atten"),
    "kv heads that do not divide": ("llama", {"num_key_value_heads": 5}, "not a multiple of"),
    "labels that differ": (
        "bert",
        {"num_labels": 3, "id2label": {"0": "a"}},
        "num_labels: found 3, but id2label has 1 names",
    ),
    "positions": (
        "bert",
        {"position_embedding_type": "rotary"},
        "position_embedding_type: found 'rotary'",
    ),
    "a patch beyond the image": ("vit", {"patch_size": 300}, "holds no patch of patch_size 300"),
    "two rotations": (
        "llama",
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 2.0}},
        "found both, and they differ",
    ),
    "a part of each head": ("qwen3", {"partial_rotary_factor": 0.5}, "found 0.5, expected 1: whol"),
    "an odd head": ("llama", {"head_dim": 7}, "head_dim: found 7, expected an even number"),
    "rotations per kind of layer": (
        "qwen3",
        {"rope_parameters": {"full_attention": {"rope_theta": 2.0}}},
        "one set per kind of layer is not supported",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str):
    model_type, raw, said = REFUSED[what]
    with pytest.raises(ValueError, match=said):
        parse(model_type, **raw)


def test_all_problems_are_counted_and_three_are_shown():
    with pytest.raises(ValueError, match="4 problems, first: aa: unknown key") as caught:
        parse("llama", aa=1, bb=2, cc=3, dd=4)
    assert "dd" not in str(caught.value)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_options_that_are_off_or_change_nothing_are_accepted(model_type: str):
    raw = {
        "add_cross_attention": False, "is_encoder_decoder": False, "quantization_config": None,
        "pruned_heads": {}, "use_cache": True, "torch_dtype": "float16", "temperature": 0.7,
        "task_specific_params": {"a": 1}, "architectures": ["Some"], "output_attentions": True,
    }  # fmt: skip
    assert parse(model_type, **raw) == registry.architecture(model_type).config()


@given(
    labels=st.integers(0, 5), eps=st.floats(0, 1), layers=st.integers(1, 9),
    theta=st.floats(2, 1e9), window=st.none() | st.integers(1, 99), tied=st.booleans(),
)  # fmt: skip
def test_any_config_survives_writing_and_reading(labels, eps, layers, theta, window, tied):
    config = registry.architecture("mistral").config(
        num_labels=labels, rms_norm_eps=eps, num_hidden_layers=layers, sliding_window=window,
        rope_parameters=Rope(rope_theta=theta), tie_word_embeddings=tied,
    )  # fmt: skip
    assert parse("mistral", **json.loads(configs.text(dump("mistral", config)))) == config
