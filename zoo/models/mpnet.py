"""MPNet encoders: BERT with a bias by distance that all layers share.

Song et al. 2020, arXiv:2004.09297. Checkpoints: `MPNet*`. Letters: B batch, T tokens, E embed.
"""

import dataclasses
import functools

import jax

from zoo import heads
from zoo.layers import attention, embed, linear, mlp, norm, relative, stack
from zoo.layers import cache as caching
from zoo.models import bert, roberta
from zoo.outputs import BaseOutput
from zoo.spec import Tree, scope

IGNORED = (r"(.*\.)?embeddings\.position_ids",)
PAD = 1  # the id and the position of padding, whatever the config says
BUCKETS, LONGEST = 32, 128  # likewise; the config sets the rows of their table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int = 30527
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    relative_attention_num_buckets: int = 32
    tie_word_embeddings: bool = True
    num_labels: int = 2

    def __post_init__(self):
        bert.check(self)
        if self.relative_attention_num_buckets < BUCKETS:
            raise ValueError(
                f"relative_attention_num_buckets: found {self.relative_attention_num_buckets}, "
                f"expected at least {BUCKETS}, the number into which distances are always sorted"
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {"input_ids": c.vocab_size, "position_ids": c.max_position_embeddings}


def block_specs(c: Config) -> Tree:
    """One layer."""
    attn = attention.specs(
        embed=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_attention_heads,
        head_dim=c.head_dim,
        bias=True,
        out_bias=True,
        names=("q", "k", "v", "o"),
    )
    names = ("intermediate.dense", "output.dense")
    return {
        "attn": scope("attention.attn", attn),
        "attn_norm": norm.specs("attention.LayerNorm", c.hidden_size),
        "mlp": mlp.plain_specs(embed=c.hidden_size, hidden=c.intermediate_size, names=names),
        "mlp_norm": norm.specs("output.LayerNorm", c.hidden_size),
    }


def specs(c: Config, *, layers: stack.Build = stack.loop, pooler: bool = True) -> Tree:
    """Every parameter of the body."""
    one, size = scope("encoder.layer.{}", block_specs(c)), c.hidden_size
    name, rows = "encoder.relative_attention_bias", c.relative_attention_num_buckets
    tree = {
        "embed": embed.specs(vocab=c.vocab_size, embed=size, positions=c.max_position_embeddings),
        "distance": relative.bias_specs(name, rows, c.num_attention_heads),
        "layers": layers(c.kinds, lambda kind: one),
    }
    if pooler:
        tree["pooler"] = linear.specs("pooler.dense", size, size, axes=(None, "embed"))
    return tree


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
    """Vectors of tokens and, where the tree holds a pooler, of the whole text.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_ids: int [B, T].
      attention_mask: [B, T] with 1 for tokens and 0 for padding, or [B, T, T].
      position_ids: int [B, T] or [T]; the count of tokens from 2 on if absent. Distances are
        those between places in the text, whatever is given here.
      inputs_embeds: [B, T, E] in place of `input_ids`.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout on.
    """
    p = params["embed"]
    x = linear.embed_text(p["words"], input_ids, inputs_embeds, padding_idx=PAD)
    if position_ids is None:
        position_ids = embed.counted(
            input_ids, x.shape[1], padding_idx=PAD, table=c.max_position_embeddings
        )
    tokens, _ = caching.place(
        x.shape[1], attention_mask=attention_mask, position_ids=position_ids, cache=None
    )
    x = embed.embed(
        p,
        x,
        positions=tokens.positions,
        padding_idx=PAD,
        eps=c.layer_norm_eps,
        rate=c.hidden_dropout_prob,
        key=dropout_key,
    )
    bias = relative.bias(
        params["distance"],
        tokens.slots,
        tokens.keys,
        count=BUCKETS,
        longest=LONGEST,
        both_sides=True,
    )
    return bert.encode(
        c,
        params,
        x,
        tokens,
        None,
        causal=False,
        bias=bias,
        collect=output_hidden_states,
        key=dropout_key,
    )


def rate(c: Config) -> float:
    """Dropout before every classifier."""
    return c.hidden_dropout_prob


HEADS = {
    "ForMaskedLM": heads.Head(
        "fill-mask", roberta.lm_specs, roberta.lm, tied=roberta.tied("mpnet")
    ),
    "ForSequenceClassification": heads.first(
        "text-classification",
        roberta.SEQUENCE,
        act=lambda c: "tanh",
        rates=lambda c: (rate(c), rate(c)),
    ),
    "ForMultipleChoice": heads.pooled("multiple-choice", rate, labels=1),
    "ForTokenClassification": heads.tokens(rate),
    "ForQuestionAnswering": heads.answers(),
}
TASKS = heads.encoder(
    "MPNet",
    specs,
    apply,
    HEADS,
    prefix="mpnet",
    unpooled=functools.partial(specs, pooler=False),
)
