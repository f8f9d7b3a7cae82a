"""Batch statistics are those of torch in training: outputs, gradients and running values."""

import copy

import jax
import jax.numpy as jnp
import matrix_case as cases
import numpy as np
import pytest
import torch
from matrix_case import error

from bridges import checkpoint
from zoo import spec
from zoo.layers import norm


def test_a_training_step_of_a_whole_model_is_that_of_torch():
    """Outputs, gradients through the statistics of a batch, and two steps of running ones."""
    one = cases.case("resnet-image", 0.3)
    model, reference = one.model, copy.deepcopy(one.reference).train()
    pixels = cases.inputs(one.row)["pixel_values"]
    trained, buffers = spec.split(model.specs, model.params)
    weight = cases.weight("logits", (len(pixels), 3))

    def functional(trained):
        out = model.apply(spec.merge(trained, buffers), pixel_values=pixels, train=True)
        return jnp.vdot(weight, out.logits), out

    grads, out = jax.jit(jax.grad(functional, has_aux=True))(trained)
    theirs = reference(torch.from_numpy(pixels)).logits
    (theirs * torch.from_numpy(weight)).sum().backward()
    assert error(out.logits, theirs.detach()) <= 1e-5
    declared, state = spec.split(model.specs, model.specs)
    expected = {name: p.grad.numpy() for name, p in reference.named_parameters()}
    largest = max(np.abs(x).max() for x in expected.values())
    for name, _, make in checkpoint.tensors(declared, grads):
        gap = np.abs(make() - expected[name]).max()
        assert gap <= 1e-4 * max(np.abs(expected[name]).max(), 1e-3 * largest), name

    params = spec.merge(out.batch_stats, model.params)
    again = jax.jit(lambda p: model.apply(p, pixel_values=pixels[:2], train=True))(params)
    reference(torch.from_numpy(pixels[:2]))
    params = spec.merge(again.batch_stats, params)
    _, kept = spec.split(model.specs, params)
    named = dict(reference.named_buffers())
    for name, info, make in checkpoint.tensors(state, kept):
        assert info.dtype == (np.int64 if name.endswith("tracked") else np.float32)
        assert error(make(), named[name]) <= 1e-5, name


def test_statistics_of_one_value_are_refused():
    specs = norm.batch_specs("norm", 3)
    params = spec.init(jax.random.key(0), specs)
    with pytest.raises(ValueError, match="found one value for each of 3 channels"):
        norm.batch_norm_train(params, jnp.ones((1, 1, 1, 3)))


def test_a_frozen_norm_is_state_only():
    specs = norm.batch_specs("norm", 3, frozen=True)
    assert spec.count(specs) == 0
    assert spec.count(norm.batch_specs("norm", 3)) == 6
    trained, buffers = spec.split(specs, specs)
    assert not spec.leaves(trained)
    assert spec.merge(trained, buffers) == specs
