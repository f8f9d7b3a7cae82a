"""Dropout of whole models: off without a key, decided by the key, and unbiased in a linear head."""

import jax
import matrix_case as cases
import numpy as np
import pytest
from families import FAMILIES

import zoo

CLASSES = {"bert": "BertForTokenClassification", "llama": "LlamaForTokenClassification"}
RATES = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "llama": {"attention_dropout": 0.0},
}


@pytest.fixture(scope="module", params=CLASSES)
def model(request) -> zoo.Model:
    """A model whose only dropout is that of its head."""
    kind = request.param
    return zoo.from_config(
        FAMILIES[kind].tiny | RATES[kind] | {
            "model_type": kind, "architectures": [CLASSES[kind]], "classifier_dropout": 0.4,
            "initializer_range": 0.3,
        }
    )  # fmt: skip


IDS = cases.seeded("dropout").integers(1, 99, (2, 7)).astype(np.int32)


def test_a_key_decides(model):
    plain = model(input_ids=IDS).logits
    one, same, other = (
        model(input_ids=IDS, dropout_key=jax.random.key(seed)).logits for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, plain)


def test_the_mean_over_keys_is_the_output_without(model):
    run = jax.jit(
        jax.vmap(lambda key: model.apply(model.params, input_ids=IDS, dropout_key=key).logits)
    )
    many = np.asarray(run(jax.random.split(jax.random.key(2), 2000)))
    plain = np.asarray(model(input_ids=IDS).logits)
    spread = many.std(0) / len(many) ** 0.5
    assert (spread > 0).all()
    assert (np.abs(many.mean(0) - plain) < 5 * spread + 1e-6).all()
