"""Marks keep their names in the jaxpr and change nothing else."""

import functools
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import FAMILIES

import zoo.layers
import zoo.models
from bridges import config as configs
from zoo import hint, registry, spec
from zoo.markers import MARKERS, op

for package in (zoo.layers, zoo.models):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)


@op("test_scaled")
def scaled(x: jax.Array, y: jax.Array | None = None, *, by: float) -> jax.Array:
    """x * by + y."""
    x = hint.hint(x, "batch")
    return x * by if y is None else x * by + y


def names(jaxpr) -> set[str]:
    """Names of every function that stands in a jaxpr, also inside others."""
    found = set()
    for equation in jaxpr.eqns:
        found.add(equation.params.get("name", ""))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            found |= names(inner) if hasattr(inner, "eqns") else set()
    return found


def test_the_name_stays_in_the_jaxpr():
    jaxpr = jax.make_jaxpr(lambda x: scaled(x, by=2.0))(jnp.ones(3)).jaxpr
    assert "test_scaled" in names(jaxpr)


def test_values_gradients_and_vmap_pass_through():
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(scaled(x, x, by=2.0), 3 * x)
    np.testing.assert_array_equal(jax.grad(lambda x: scaled(x, by=2.0).sum())(x), [2, 2, 2])
    wide = jax.vmap(functools.partial(scaled, by=2.0))(jnp.ones((2, 3)))
    np.testing.assert_array_equal(wide, 2 * np.ones((2, 3)))


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match=r"marker 'linear' is taken by zoo\.layers\.linear"):
        op("linear")(lambda x: x)


def test_traces_are_kept_apart_by_placement():
    seen = []

    class Recorder:
        def __call__(self, x, axes):
            seen.append(axes)
            return x

        def __hash__(self):
            return 1

        def __eq__(self, other):
            return self is other

    x = jnp.ones(5)
    scaled(x, by=3.0)
    assert seen == []
    with hint.placing(Recorder()):
        scaled(x, by=3.0)
    assert seen == [("batch",)]
    scaled(x, by=3.0)
    assert seen == [("batch",)]


@pytest.mark.parametrize("name", sorted(MARKERS))
def test_arrays_are_positional_and_options_are_keywords(name: str):
    parameters = inspect.signature(MARKERS[name].fn).parameters.values()
    assert {p.kind for p in parameters} <= {
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    }
    for p in parameters:
        if p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is not inspect.Parameter.empty:
            hash(p.default)


OPS = {
    "bert": {"layer_norm", "attention", "activation", "embedding", "linear", "bert.layer"},
    "gpt2": {"layer_norm", "attention", "activation", "embedding", "gpt2.layer"},
    "llama": {"rms_norm", "rope", "attention", "activation", "embedding", "llama.layer"},
    "mistral": {"rms_norm", "rope", "attention", "llama.layer"},
    "qwen2": {"rms_norm", "rope", "attention", "llama.layer"},
    "qwen3": {"rms_norm", "rope", "attention", "llama.layer"},
    "vit": {"layer_norm", "patches", "attention", "activation", "linear", "vit.layer"},
}


@pytest.mark.parametrize("model_type", OPS)
def test_models_are_made_of_marked_parts(model_type: str):
    arch = registry.architecture(model_type)
    config, task = configs.parse(arch, FAMILIES[model_type].tiny), next(iter(arch.tasks.values()))
    params = spec.abstract(task.specs(config))
    if model_type == "vit":
        given = {"pixel_values": jnp.zeros((1, 3, 12, 12))}
    else:
        given = {"input_ids": jnp.zeros((1, 5), int)}
    jaxpr = jax.make_jaxpr(lambda params: task.apply(config, params, **given))(params).jaxpr
    assert OPS[model_type] <= names(jaxpr)
