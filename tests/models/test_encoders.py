"""What encoders refuse, how positions go on behind a cache, and what published files hold."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matrix_case as cases
import numpy as np
import pytest
from families import FAMILIES
from matrix_case import error
from safetensors.numpy import save_file

import zoo
from bridges import config as configs
from zoo import registry
from zoo.layers.rope import Rope


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def made(model_type: str, class_name: str, **changes: Any) -> zoo.Model:
    """A tiny model."""
    keys = {"model_type": model_type, "architectures": [class_name], "initializer_range": 0.3}
    return zoo.from_config(FAMILIES[model_type].tiny | keys | changes)


@pytest.mark.parametrize(
    ("model_type", "keys", "match"),
    [
        ("roberta", {"pad_token_id": None}, "pad_token_id: found None, expected int"),
        ("roberta", {"hidden_size": 33}, "hidden_size: 33 is not a multiple of num_attention"),
        ("roberta", {"add_cross_attention": True}, "cross-attention is not supported here"),
        ("distilbert", {"dim": 33}, "dim: 33 is not a multiple of n_heads 4"),
        ("distilbert", {"hidden_size": 48}, "hidden_size: found 48, but dim 32"),
        ("mpnet", {"relative_attention_num_buckets": 16}, "found 16, expected at least 32"),
        ("modernbert", {"classifier_pooling": "max"}, "found 'max', expected one of cls, mean"),
        ("modernbert", {"layer_types": ["full_attention"]}, "layer_types: found 1 of full_att"),
        ("modernbert", {"num_attention_heads": 32}, "does not split into num_attention_heads 32"),
        ("modernbert", {"rope_parameters": {"full_attention": {"partial_rotary_factor": 0.5}}},
         "full_attention.partial_rotary_factor: found 0.5, expected 1"),
        ("modernbert", {"rope_parameters": {"rope_theta": 9.0}}, "found rope_theta, expected"),
        ("modernbert", {"rope_scaling": 3}, "found 3, expected an object"),
        ("modernbert", {"global_rope_theta": "x"}, "rope_theta: found 'x', expected"),
        ("deberta-v2", {"pos_att_type": "c2p|p2p"}, "pos_att_type: found .* expected some of"),
        ("deberta-v2", {"norm_rel_ebd": "batch"}, "norm_rel_ebd: found .* expected some of"),
        ("deberta-v2", {"conv_kernel_size": 4}, "conv_kernel_size: found 4, expected an odd"),
        ("deberta-v2", {"conv_groups": 5}, "conv_groups: found 5, expected a divisor"),
        ("deberta-v2", {"position_buckets": 90}, "found 90 buckets up to a distance of 40"),
        ("deberta-v2", {"legacy": False, "embedding_size": 20}, "embedding_size: found 20"),
    ],
)  # fmt: skip
def test_configs_that_are_refused(model_type: str, keys: dict, match: str):
    with pytest.raises(ValueError, match=match):
        configs.parse(registry.architecture(model_type), FAMILIES[model_type].tiny | keys)


IDS = np.arange(2, 28, dtype=np.int32).reshape(2, 13)


@pytest.mark.parametrize(
    ("model_type", "class_name", "given", "match"),
    [
        ("roberta", "RobertaModel", {"input_ids": np.ones((1, 39), int)},
         "39 tokens, expected at most 38: of max_position_embeddings 40 the first 2 stand for"),
        ("mpnet", "MPNetModel", {"inputs_embeds": np.ones((1, 39, 32), np.float32)},
         "39 tokens, expected at most 38"),
        ("distilbert", "DistilBertModel", {"input_ids": np.ones((1, 41), int)},
         "41 tokens, expected at most max_position_embeddings 40"),
        ("roberta", "RobertaForMultipleChoice", {"input_ids": IDS},
         r"RobertaForMultipleChoice: found inputs of shape \(2, 13\), expected an axis of choices"),
        ("deberta-v2", "DebertaV2Model",
         {"input_ids": IDS, "attention_mask": np.ones((2, 13, 13), int)},
         r"attention_mask has shape \(2, 13, 13\), expected 2 dimensions: tokens are blanked too"),
        ("modernbert", "ModernBertModel", {"input_ids": IDS + 90}, "holds 117, expected 0 to 99"),
    ],
)  # fmt: skip
def test_inputs_that_are_refused(model_type: str, class_name: str, given: dict, match: str):
    with pytest.raises(ValueError, match=match):
        made(model_type, class_name)(**given)


def test_positions_go_on_behind_a_cache():
    """Without `position_ids`, left padding included: every token stands where it stands alone."""
    model = made("roberta", "RobertaForCausalLM", is_decoder=True)
    pad = np.array([[0], [4]])
    mask = (np.arange(13) >= pad).astype(np.int32)
    ids = np.where(mask == 1, IDS, 1)
    whole = np.asarray(model(input_ids=ids, attention_mask=mask).logits)
    out = model(input_ids=ids[:, :8], attention_mask=mask[:, :8], cache=model.init_cache(2, 16))
    pieces = [out.logits]
    for t in range(8, 13):
        out = model(input_ids=ids[:, t : t + 1], cache=out.cache)
        pieces.append(out.logits)
    assert error(np.concatenate(pieces, axis=1)[mask == 1], whole[mask == 1]) <= 1e-5
    alone = model(input_ids=ids[1:, 4:]).logits
    assert error(whole[1:, 4:], alone) <= 1e-5


def test_deberta_of_any_length_without_absolute_positions():
    model = made("deberta-v2", "DebertaV2Model", position_biased_input=False)
    ids = np.resize(IDS, (1, 90))
    assert model(input_ids=ids).last_hidden_state.shape == (1, 90, 32)


def test_files_of_deberta_hold_heads_that_no_class_declares(tmp_path: Path):
    """Those of v3 carry both halves of its pre-training."""
    one = cases.case("deberta-v2-masked-lm-new-head", 0.3)
    rng = np.random.default_rng(0)
    extra = {f"mask_predictions.{name}": rng.normal(size=(4,)).astype(np.float32)
             for name in ("LayerNorm.weight", "classifier.bias")}  # fmt: skip
    save_file({**cases.stored(one.folder), **extra}, tmp_path / "model.safetensors")
    raw = json.loads((one.folder / "config.json").read_text())
    for legacy in (False, True):
        (tmp_path / "config.json").write_text(json.dumps(raw | {"legacy": legacy}))
        body = zoo.from_pretrained(tmp_path, task="feature-extraction")
        assert body(input_ids=IDS).last_hidden_state.shape == (2, 13, 32)
    drawn = zoo.from_pretrained(tmp_path, task="fill-mask")
    assert drawn(input_ids=IDS).logits.shape == (2, 13, 100)


def test_thetas_beside_the_parameters():
    arch, tiny = registry.architecture("modernbert"), FAMILIES["modernbert"].tiny

    def ropes(**keys: Any) -> tuple[Rope, Rope]:
        both = configs.parse(arch, tiny | keys).rope_parameters
        return both.full_attention, both.sliding_attention

    assert ropes() == (Rope(rope_theta=160_000.0), Rope(rope_theta=10_000.0))
    assert ropes(global_rope_theta=9.0, local_rope_theta=5.0) == (
        Rope(rope_theta=9.0), Rope(rope_theta=5.0))  # fmt: skip
    assert ropes(global_rope_theta=9.0, local_rope_theta=None) == (Rope(rope_theta=9.0),) * 2
    scaled = {"rope_type": "linear", "factor": 2.0}
    full, sliding = ropes(global_rope_theta=9.0, rope_scaling=scaled)
    assert full == Rope(rope_theta=9.0, **scaled)
    assert sliding == Rope(rope_theta=10_000.0, **scaled)
    both = {"full_attention": {"rope_theta": 3.0}}
    assert ropes(global_rope_theta=9.0, rope_parameters=both)[0] == Rope(rope_theta=3.0)


def test_new_weights_of_modernbert_are_cut_off():
    config = FAMILIES["modernbert"].tiny | {"model_type": "modernbert"}
    words = zoo.from_config(config).params["embed"]["words"]["weight"]
    assert 0.035 < float(jnp.abs(words).max()) <= 0.04
    assert 0.015 < float(words.std()) < 0.02


def test_new_positions_of_distilbert_are_those_of_transformers():
    from transformers import DistilBertConfig, DistilBertModel

    config = FAMILIES["distilbert"].tiny | {"sinusoidal_pos_embds": True}
    theirs = DistilBertModel(DistilBertConfig(**config)).embeddings.position_embeddings.weight
    ours = zoo.from_config(config | {"model_type": "distilbert"}).params["embed"]["positions"]
    assert error(ours["weight"], theirs.detach()) <= 1e-6
