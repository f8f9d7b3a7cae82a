"""Mamba 2: a decoder of state spaces, without attention. Dao and Gu 2024, arXiv:2405.21060.

Checkpoints: `Mamba2*`. Letters: B batch, T new tokens, E embed, N heads, D head size, V vocab.

`time_step_limit` holds for every token; in transformers not for those that are decoded one by one.
"""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from zoo import outputs, tasks
from zoo.hint import hint
from zoo.layers import activation, linear, norm, ssm, stack
from zoo.layers import cache as caching
from zoo.markers import block
from zoo.outputs import BaseOutput
from zoo.spec import Tree, scope

# How the scan is cut, a size that nothing has, and two options that transformers does not read:
# the gate comes before the norm, which is always there, whatever published files say.
INERT = frozenset({"chunk_size", "time_step_rank", "norm_before_gate", "rms_norm"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 32768
    hidden_size: int = 4096
    state_size: int = 128
    num_hidden_layers: int = 64
    num_heads: int = 128
    head_dim: int = 64
    expand: int = 2
    n_groups: int = 8
    conv_kernel: int = 4
    hidden_act: str = "silu"
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.1
    use_bias: bool = False
    use_conv_bias: bool = True
    residual_in_fp32: bool = True
    rescale_prenorm_residual: bool = False
    time_step_min: float = 0.001
    time_step_max: float = 0.1
    time_step_floor: float = 1e-4
    time_step_limit: tuple[float, float] = (0.0, math.inf)
    tie_word_embeddings: bool = False

    def __post_init__(self):
        inner = self.expand * self.hidden_size
        if inner != self.num_heads * self.head_dim:
            raise ValueError(
                f"num_heads: {self.num_heads} of head_dim {self.head_dim} do not make expand "
                f"{self.expand} times hidden_size {self.hidden_size}"
            )
        if self.num_heads % self.n_groups:
            raise ValueError(
                f"num_heads: {self.num_heads} is not a multiple of n_groups {self.n_groups}"
            )
        low, high = self.time_step_limit
        if not 0 <= low <= high:
            raise ValueError(
                f"time_step_limit: found {low} to {high}, expected two rising numbers from 0 on"
            )
        if not 0 < self.time_step_min <= self.time_step_max:
            raise ValueError(
                f"time_step_min: found {self.time_step_min} beside time_step_max "
                f"{self.time_step_max}, expected two rising numbers above 0"
            )
        activation.check(self.hidden_act, where="hidden_act")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer."""
        return ("state_space",) * self.num_hidden_layers

    @property
    def sizes(self) -> dict[str, int]:
        """Of the mixer of each layer."""
        return {
            "heads": self.num_heads,
            "head_dim": self.head_dim,
            "groups": self.n_groups,
            "state": self.state_size,
            "taps": self.conv_kernel,
        }


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.vocab_size}


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Refuses a mask of pairs of tokens.

    Raises:
      ValueError: the mask has three axes.
    """
    mask = arrays.get("attention_mask")
    if mask is not None and mask.ndim != 2:
        raise ValueError(
            f"{where}: attention_mask has shape {tuple(mask.shape)}, expected one number per "
            f"token: a state space sees no pairs of tokens; say what is padding"
        )


def inits(c: Config) -> ssm.Inits:
    """As the paper's code draws them."""

    def uniform(size: int, scale: float = 1.0) -> Any:
        edge = scale / math.sqrt(size)
        return lambda key, shape, dtype, std: jax.random.uniform(key, shape, dtype, -edge, edge)

    def rate(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        return jnp.log(jnp.arange(1, shape[0] + 1)).astype(dtype)

    def step(key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        low, high = math.log(c.time_step_min), math.log(c.time_step_max)
        dt = jnp.exp(jax.random.uniform(key, shape, jnp.float32, low, high))
        dt = jnp.maximum(dt, c.time_step_floor)
        return (dt + jnp.log(-jnp.expm1(-dt))).astype(dtype)  # the inverse of softplus

    depth = math.sqrt(c.num_hidden_layers) if c.rescale_prenorm_residual else 1.0
    inner = c.expand * c.hidden_size
    return ssm.Inits(
        conv=uniform(c.conv_kernel), out=uniform(inner, 1 / depth), rate=rate, step=step
    )


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    mixer = ssm.specs(
        embed=c.hidden_size,
        bias=c.use_bias,
        conv_bias=c.use_conv_bias,
        inits=inits(c),
        **c.sizes,
    )
    one = {"norm": norm.specs("norm", c.hidden_size, bias=False), "mixer": scope("mixer", mixer)}
    return {
        "embed": linear.embedding_specs("embeddings", c.vocab_size, c.hidden_size),
        "layers": layers(c.kinds, lambda kind: scope("layers.{}", one)),
        "norm": norm.specs("norm_f", c.hidden_size, bias=False),
    }


def cache_specs(
    c: Config, batch: int, length: int, *, layers: stack.Build = stack.loop
) -> caching.Cache:
    """The state of every layer, which is of one size for any text."""
    return ssm.cache_specs(c.kinds, batch=batch, length=length, layers=layers, **c.sizes)


def begun(mask: jax.Array | None, cache: caching.Cache | None) -> jax.Array | None:
    """Which new slots [T] come with or after the first token of any row; None where all do.

    A row's own padding is computed as transformers computes it. What lies before all rows is how
    `generate` fills a bucket, and has no biases that a convolution could see.
    """
    if mask is None or cache is None:
        return None
    return jnp.cumsum(jnp.any(mask != 0, axis=0)) > jnp.where(jnp.any(cache.valid), -1, 0)


@block
def layer(
    p: Tree,
    x: jax.Array,
    state: ssm.State | None,
    valid: jax.Array | None,
    begun: jax.Array | None,
    *,
    c: Config,
) -> tuple[jax.Array, ssm.State | None]:
    """x [B, T, E] -> (x [B, T, E], state)."""
    weight = p["norm"]["weight"]
    y = norm.rms_norm(p["norm"], x.astype(weight.dtype), eps=c.layer_norm_epsilon)
    y, state = ssm.mix(
        p["mixer"],
        y,
        state,
        valid,
        begun,
        heads=c.num_heads,
        groups=c.n_groups,
        act=c.hidden_act,
        eps=c.layer_norm_epsilon,
        limit=c.time_step_limit,
    )
    return x + y.astype(x.dtype), state


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    cache: caching.Cache | None = None,
    output_hidden_states: bool = False,
) -> BaseOutput:
    """Vectors of tokens that have seen what came before them.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding on either side.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      cache: of `cache_specs`, or what an earlier call returned.
      output_hidden_states: return the output of every layer too, without the embeddings.
    """
    x = linear.embed_text(params["embed"], input_ids, inputs_embeds)
    x = hint(x, "batch", "length", None)
    if c.residual_in_fp32:
        x = x.astype(jnp.float32)
    _, advanced = caching.place(
        x.shape[1], attention_mask=attention_mask, position_ids=None, cache=cache
    )
    there = begun(attention_mask, cache) if c.use_bias else None
    x, kept, inner = stack.run(
        lambda kind, p, x, cache, i, key: layer(p, x, cache, attention_mask, there, c=c),
        c.kinds,
        params["layers"],
        x,
        cache=cache and cache.layers,
        collect=output_hidden_states,
    )
    y = norm.rms_norm(params["norm"], x, eps=c.layer_norm_epsilon)
    return BaseOutput(
        last_hidden_state=y,
        cache=advanced and dataclasses.replace(advanced, layers=kept),
        hidden_states=None if inner is None else (*inner[1:], x, y),
    )


def lm_specs(c: Config) -> Tree:
    """The output matrix, unless it is that of the embeddings."""
    return {} if c.tie_word_embeddings else tasks.lm_head_specs(c)


def lm(c: Config, params: Tree, body: BaseOutput, inputs: Mapping) -> outputs.LogitsOutput:
    """Logits [B, T, V], in float32."""
    p = params["embed"] if c.tie_word_embeddings else params["head"]
    x = body.last_hidden_state.astype(p["weight"].dtype)
    return tasks.logits(body, linear.linear(p, x).astype(jnp.float32))


RENAMED = ((r"(^|\.)embedding\.weight$", r"\1embeddings.weight"),)  # as the paper's code has it
TASKS = {
    "Mamba2Model": tasks.bare(specs, apply)._replace(renamed=RENAMED),
    "Mamba2ForCausalLM": tasks.headed(
        "causal-lm", specs, apply, prefix="backbone", head_specs=lm_specs, head=lm
    )._replace(
        tied=MappingProxyType({"lm_head.weight": "backbone.embeddings.weight"}), renamed=RENAMED
    ),
}
