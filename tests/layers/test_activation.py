"""Every name computes what it computes in transformers, far out too."""

import jax
import numpy as np
import pytest
import torch
from transformers.activations import ACT2FN

from zoo.layers.activation import ACTIVATIONS, activation, check

POINTS = np.concatenate([np.linspace(-12, 12, 401), [-100.0, -1e-6, 0.0, 1e-6, 100.0]])
POINTS = POINTS.astype(np.float32)
WITH_WEIGHTS = {"prelu", "xielu"}  # transformers keeps parameters in these


def test_the_names_are_those_of_transformers():
    assert ACTIVATIONS.keys() <= ACT2FN.keys()
    assert ACT2FN.keys() - ACTIVATIONS.keys() <= WITH_WEIGHTS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_slopes(name: str):
    x = torch.from_numpy(POINTS.copy()).requires_grad_(True)
    y = ACT2FN[name](x)
    y.sum().backward()
    ours, pull = jax.vjp(lambda x: activation(x, name=name), POINTS)
    np.testing.assert_allclose(ours, y.detach().numpy(), rtol=2e-6, atol=2e-6)
    kinks = np.isin(POINTS, [-3, 0, 3, 6, 10])  # where the slope is a matter of taste
    slopes = (pull(np.ones_like(POINTS))[0][~kinks], x.grad.numpy()[~kinks])
    np.testing.assert_allclose(*slopes, rtol=2e-5, atol=2e-5)


def test_an_unknown_name_lists_those_that_are_known():
    with pytest.raises(ValueError, match=r"hidden_act: activation 'glue' is not known; .*gelu_new"):
        check("glue", where="hidden_act")
