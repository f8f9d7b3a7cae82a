"""Logical axes to mesh axes: what is placed where, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import zoo
from sharding import mesh, rules
from zoo import spec
from zoo.hint import hint
from zoo.spec import ArraySpec

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}


def test_mesh_sizes():
    assert dict(mesh("fsdp=2,tensor=4").shape) == {"fsdp": 2, "tensor": 4}
    assert dict(mesh("data=-1, tensor=2").shape) == {"data": 4, "tensor": 2}
    assert dict(mesh("fsdp=3", devices=jax.devices()[:3]).shape) == {"fsdp": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fsdp:8", "expected axis=size"),
        ("fsdp=2,fsdp=4", "each axis once"),
        ("model=8", "'model' is none of data, fsdp"),
        ("fsdp=3", "does not cover the 8 devices"),
        ("fsdp=-1,data=-1", "does not cover"),
        ("fsdp=0", "expected axis=size"),
        ("", "expected axis=size"),
    ],
)
def test_mesh_refuses(text, message):
    with pytest.raises(ValueError, match=message):
        mesh(text)


def test_default_rules_follow_the_axes():
    assert rules.default(mesh("tensor=8")) == dict.fromkeys(
        ("heads", "kv_heads", "mlp", "expert_mlp", "vocab"), "tensor"
    )
    assert rules.default(mesh("data=2,fsdp=4")) == {"batch": ("data", "fsdp"), "embed": "fsdp"}
    assert rules.default(mesh("expert=8")) == {"experts": "expert"}


def test_partition():
    grid = mesh("fsdp=2,tensor=4")
    weight = ArraySpec(shape=(8, 4, 32), axes=("heads", "head_dim", "embed"), name="q.weight")
    assert rules.partition(weight, grid, rules.default(grid)) == PartitionSpec(
        "tensor", None, "fsdp"
    )
    assert rules.partition(weight, grid, rules.REPLICATED) == PartitionSpec(None, None, None)
    both = {"heads": ("fsdp", "tensor")}
    assert rules.partition(weight, grid, both) == PartitionSpec(("fsdp", "tensor"), None, None)


@pytest.mark.parametrize(
    ("shape", "chosen", "message"),
    [
        ((6, 32), {"heads": "tensor"}, r"q: axis 'heads' of size 6 does not divide .* 4 devices"),
        ((8, 32), {"heads": "tensor", "embed": "tensor"}, "'heads' and 'embed' both map to mesh"),
        ((8, 32), {"heads": "model"}, "mesh axis 'model', but the mesh has fsdp, tensor"),
    ],
)
def test_partition_refuses(shape, chosen, message):
    one = ArraySpec(shape=shape, axes=("heads", "embed"), name="q")
    with pytest.raises(ValueError, match=message):
        rules.partition(one, mesh("fsdp=2,tensor=4"), chosen)


@pytest.mark.parametrize("axes", ["fsdp=8", "tensor=4,data=2", "fsdp=2,tensor=4"])
def test_sharded_equals_unsharded(axes):
    grid = mesh(axes)
    ids = np.arange(8 * 7).reshape(8, 7) % 96
    alone = zoo.from_config(LLAMA)
    spread = zoo.from_config(LLAMA, mesh=grid)
    wanted = rules.shardings(spread.specs, grid, rules.default(grid))
    assert jax.tree.all(jax.tree.map(lambda x, s: x.sharding == s, spread.params, wanted))

    def loss(params, model):
        return jnp.sum(jnp.sin(model.apply(params, input_ids=jnp.asarray(ids)).logits))

    with rules.placing(grid):
        got = spread(input_ids=ids).logits
        got_grad = jax.jit(jax.grad(lambda p: loss(p, spread)))(spread.params)
    want = alone(input_ids=ids).logits
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())
    want_grad = jax.jit(jax.grad(lambda p: loss(p, alone)))(alone.params)
    for a, b in zip(jax.tree.leaves(got_grad), jax.tree.leaves(want_grad), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


def test_hints_do_not_leak_between_meshes():
    """A marked function that was traced without a mesh is traced anew under one."""
    model = zoo.from_config(LLAMA)
    ids = jnp.zeros((8, 4), jnp.int32)

    def constraints(jaxpr) -> int:
        return str(jaxpr).count("sharding_constraint")

    run = lambda p: model.apply(p, input_ids=ids).logits  # noqa: E731
    assert constraints(jax.make_jaxpr(run)(model.params)) == 0
    with rules.placing(mesh("fsdp=8")):
        assert constraints(jax.make_jaxpr(run)(model.params)) == 1
    assert constraints(jax.make_jaxpr(run)(model.params)) == 0


def test_hint_without_a_mesh_is_the_identity():
    x = jnp.ones((2, 3))
    assert hint(x, "batch", None) is x


def test_every_declared_axis_is_known():
    model = zoo.from_config(LLAMA)
    axes = {axis for s in spec.leaves(model.specs) for axis in s.axes}
    assert axes <= {"vocab", "embed", "heads", "kv_heads", "head_dim", "mlp", None}
