"""Dense decoders: what their configs refuse, and old spellings beside new ones."""

from typing import Any

import jax
import matrix_case as cases
import numpy as np
import pytest
from families import FAMILIES

import zoo
from bridges import config as configs
from zoo import registry
from zoo.layers import alibi, attention
from zoo.layers.rope import Rope

LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}


def parse(model_type: str, changes: dict[str, Any]) -> Any:
    """The config of a tiny model."""
    arch = registry.architecture(model_type)
    return configs.parse(arch, {**FAMILIES[model_type].tiny, **changes})


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "kinds": ("gemma2", {"layer_types": ["full_attention"]},
              "layer_types: found 1 kinds, expected num_hidden_layers 3"),
    "kind": ("gemma3_text", {"layer_types": ["chunked_attention"] * 3},
             "layer_types: found chunked_attention, expected full_attention, sliding_attention"),
    "cap": ("gemma2", {"final_logit_softcapping": 0.0},
            "final_logit_softcapping: found 0.0, expected a number above 0"),
    "scale": ("gemma2", {"query_pre_attn_scalar": -1.0},
              "query_pre_attn_scalar: found -1.0, expected a number above 0"),
    "both directions": ("gemma2", {"use_bidirectional_attention": True},
                        "use_bidirectional_attention: found True, not supported by gemma2"),
    "odd part": ("phi3", {"partial_rotary_factor": 0.4},
                 r"head_dim: found 8 times partial_rotary_factor 0\.4, expected an even number"),
    "no part": ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 0.1}},
                r"head_dim: found 8 times partial_rotary_factor 0\.1, expected an even number"),
    "heads phi3": ("phi3", {"hidden_size": 30}, "hidden_size: 30 is not a multiple of num_atten"),
    "heads gpt_neox": ("gpt_neox", {"hidden_size": 30}, "hidden_size: 30 is not a multiple of num"),
    "heads bloom": ("bloom", {"hidden_size": 30}, "hidden_size: 30 is not a multiple of n_head 4"),
    "slow": ("bloom", {"slow_but_exact": True, "pretraining_tp": 2},
             "slow_but_exact: found True, not supported by bloom"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_configs_that_are_refused(name: str):
    model_type, changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        parse(model_type, changes)


def test_a_model_that_sees_later_tokens_has_no_use_for_a_cache():
    tiny = FAMILIES["gemma3_text"].tiny
    changes = {"model_type": "gemma3_text", "use_bidirectional_attention": True}
    model = zoo.from_config({**tiny, **changes})
    ids = np.ones((1, 3), np.int32)
    with pytest.raises(ValueError, match="Gemma3TextModel: found a cache, but with use_bidirect"):
        model(input_ids=ids, cache=model.init_cache(1, 4))


def test_gemma3_reads_a_period_and_two_thetas_as_a_kind_and_a_rotation_of_each_layer():
    old = {
        "sliding_window_pattern": 3,
        "num_hidden_layers": 7,
        "rope_theta": 900.0,
        "rope_local_base_freq": 50,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    new = {
        "num_hidden_layers": 7,
        "layer_types": [*kinds, "sliding_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 900.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    }
    assert parse("gemma3_text", old) == parse("gemma3_text", new)


def test_phi3_writes_its_original_length_where_transformers_reads_it():
    arch = registry.architecture("phi3")
    changes = {"original_max_position_embeddings": 20, "rope_parameters": LONG}
    raw = {**FAMILIES["phi3"].tiny, **changes}
    config = configs.parse(arch, raw)
    assert config.rope_parameters.original_max_position_embeddings == 20
    changed = parse("phi3", raw | {"rope_parameters": LONG | {"rope_theta": 50.0}})
    written = configs.dump(arch, changed, raw, {})
    assert written["original_max_position_embeddings"] == 20
    assert configs.parse(arch, written) == changed
    assert parse("phi3", {"rope_parameters": LONG}).rope_parameters == Rope(
        rope_type="longrope",
        short_factor=(1.0,) * 4,
        long_factor=(2.0,) * 4,
        original_max_position_embeddings=4096,
    )


@pytest.mark.parametrize("old", ["su", "yarn", "longrope"])
def test_phi3_knows_the_names_that_longrope_had(old: str):
    scaling = {"type": old, **{k: v for k, v in LONG.items() if k != "rope_type"}}
    assert parse("phi3", {"rope_scaling": scaling}) == parse("phi3", {"rope_parameters": LONG})


def test_a_prompt_beyond_the_original_length_has_the_frequencies_of_long_texts_from_its_start():
    """However many pieces would fill the cache of a model whose frequencies do not grow."""
    one = cases.case("phi3-causal-lm-long-crossing", 0.3)
    ids = np.random.default_rng(0).integers(1, 99, (2, 20)).astype(np.int32)
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    found = one.model.generate(**given, eos_token_id=None, pad_token_id=0, **cases.GREEDY)
    np.testing.assert_array_equal(found, cases.generated(one, given))


@pytest.mark.parametrize("by_head", [False, True])
def test_parts_of_a_fused_projection_cover_it_once(by_head: bool):
    specs = attention.fused_specs(
        embed=4, heads=2, kv_heads=2, head_dim=3, names=("qkv", "o"), bias=True, by_head=by_head
    )
    parts = [spec.part for name in "qkv" for spec in specs[name].values()]
    assert {part.total for part in parts} == {3 if by_head else 6}
    starts = [specs[name]["bias"].part.start for name in "qkv"]
    assert starts == ([0, 1, 2] if by_head else [0, 2, 4])


def test_slopes_of_a_power_of_two_halve_from_one_half():
    np.testing.assert_array_equal(alibi.slopes(8), 0.5 ** np.arange(1, 9))
    np.testing.assert_array_equal(alibi.slopes(4), 0.25 ** np.arange(1, 5))
    np.testing.assert_allclose(alibi.slopes(6)[4:], [2**-1, 2**-3], rtol=1e-6)


def test_padding_is_not_counted_among_the_keys():
    valid = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    places = alibi.bias(jax.numpy.asarray(valid), 5, 1)[:, 0, 0] / alibi.slopes(1)[0]
    np.testing.assert_array_equal(places, [[0, 0, 0, 1, 2], [0, 1, 2, 0, 0]])
