"""DistilBERT encoders: half of BERT's layers, and no types. Sanh et al. 2019, arXiv:1910.01108.

Checkpoints: `DistilBert*`. Letters: B batch, T tokens, E embed, V vocab.
"""

import dataclasses
import functools
from types import MappingProxyType
from typing import Any

import jax

from zoo import heads, tasks
from zoo.hint import hint
from zoo.layers import activation, attention, embed, linear, mlp, norm, stack
from zoo.layers import cache as caching
from zoo.layers.dropout import dropout, keys
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.outputs import BaseOutput, LogitsOutput
from zoo.spec import Tree, normal, scope

ALIASES = {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}
IGNORED = (r"(.*\.)?embeddings\.position_ids",)
INERT = ("tie_weights_",)
EPS = 1e-12  # of every norm; the config has no say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 30522
    max_position_embeddings: int = 512
    sinusoidal_pos_embds: bool = False
    n_layers: int = 6
    n_heads: int = 12
    dim: int = 768
    hidden_dim: int = 4 * 768
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation: str = "gelu"
    initializer_range: float = 0.02
    qa_dropout: float = 0.1
    seq_classif_dropout: float = 0.2
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        if self.dim % self.n_heads:
            raise ValueError(f"dim: {self.dim} is not a multiple of n_heads {self.n_heads}")
        activation.check(self.activation, where="activation")

    @property
    def hidden_size(self) -> int:
        """Residual width, by the name that other architectures use."""
        return self.dim

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.n_layers


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.vocab_size, "position_ids": c.max_position_embeddings}


def block_specs(c: Config) -> Tree:
    """One layer."""
    attn = attention.specs(
        embed=c.dim,
        heads=c.n_heads,
        kv_heads=c.n_heads,
        head_dim=c.dim // c.n_heads,
        bias=True,
        out_bias=True,
        names=("q_lin", "k_lin", "v_lin", "out_lin"),
    )
    feed = mlp.plain_specs(embed=c.dim, hidden=c.hidden_dim, names=("lin1", "lin2"))
    return {
        "attn": scope("attention", attn),
        "attn_norm": norm.specs("sa_layer_norm", c.dim),
        "mlp": scope("ffn", feed),
        "mlp_norm": norm.specs("output_layer_norm", c.dim),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body. Sinusoidal positions are where a new model begins."""
    one = scope("transformer.layer.{}", block_specs(c))
    return {
        "embed": embed.specs(
            vocab=c.vocab_size,
            embed=c.dim,
            positions=c.max_position_embeddings,
            init=embed.sinusoids if c.sinusoidal_pos_embds else normal,
        ),
        "layers": layers(c.kinds, lambda kind: one),
    }


@block
def layer(
    p: Tree, x: jax.Array, context: attention.Context, key: jax.Array | None, *, c: Config
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: norms come after each residual sum."""
    k1, k2 = keys(key, 2)
    y, _ = attention.attend(p["attn"], x, None, context, k1, rate=c.attention_dropout)
    x = norm.layer_norm(p["attn_norm"], x + y, eps=EPS)
    y = dropout(mlp.plain(p["mlp"], x, act=c.activation), k2, rate=c.dropout)
    return norm.layer_norm(p["mlp_norm"], x + y, eps=EPS)


def apply(
    c: Config,
    params: Tree,
    *,
    input_ids: jax.Array | None = None,
    attention_mask: jax.Array | None = None,
    position_ids: jax.Array | None = None,
    inputs_embeds: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> BaseOutput:
    """Vectors of tokens.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding, or [B, T, T].
      position_ids: int [B, T] or [T], the count of tokens if absent.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p = params["embed"]
    x = linear.embed_text(p["words"], input_ids, inputs_embeds, padding_idx=c.pad_token_id)
    tokens, _ = caching.place(
        x.shape[1],
        attention_mask=attention_mask,
        position_ids=position_ids,
        cache=None,
        table=c.max_position_embeddings,
    )
    x = embed.embed(p, x, positions=tokens.positions, eps=EPS, rate=c.dropout, key=dropout_key)
    x = hint(x, "batch", "length", None)

    context = attention.Context(mask=Mask(valid=tokens.valid).array())
    x, _, inner = stack.run(
        lambda kind, p, x, cache, i, key: (layer(p, x, context, key, c=c), None),
        c.kinds,
        params["layers"],
        x,
        key=dropout_key,
        collect=output_hidden_states,
    )
    return BaseOutput(last_hidden_state=x, hidden_states=None if inner is None else (*inner, x))


def lm_specs(c: Config) -> Tree:
    """The head that predicts tokens."""
    return heads.lm_specs(
        vocab=c.vocab_size,
        embed=c.dim,
        tied=c.tie_word_embeddings,
        dense="vocab_transform",
        layer_norm="vocab_layer_norm",
        decoder="vocab_projector",
        bias="vocab_projector.bias",
    )


def lm(c: Config, params: Tree, body: BaseOutput, inputs: Any) -> LogitsOutput:
    """Token logits [B, T, V]."""
    p, words = params["head"], params["embed"]["words"]
    return tasks.logits(
        body, heads.lm_logits(p, words, body.last_hidden_state, act=c.activation, eps=EPS)
    )


TIED = MappingProxyType({"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"})
_first = functools.partial(
    heads.first,
    names=("pre_classifier", "classifier"),
    act=lambda c: "relu",
    rates=lambda c: (0.0, c.seq_classif_dropout),
)
HEADS = {
    "ForMaskedLM": heads.Head("fill-mask", lm_specs, lm, tied=TIED),
    "ForSequenceClassification": _first("text-classification"),
    "ForMultipleChoice": _first("multiple-choice", labels=1),
    "ForTokenClassification": heads.tokens(lambda c: c.dropout),
    "ForQuestionAnswering": heads.answers(lambda c: c.qa_dropout),
}
TASKS = heads.encoder("DistilBert", specs, apply, HEADS, prefix="distilbert")
