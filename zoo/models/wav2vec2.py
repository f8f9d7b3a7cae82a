"""wav2vec 2.0. Baevski et al. 2020, arXiv:2006.11477. Checkpoints: `Wav2Vec2*`.

Letters: B batch, S samples, T frames, C channels, E embed, G groups of codes, V vocab or codes.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zoo import tasks
from zoo.hint import hint
from zoo.layers import activation, attention, conv1d, linear, mlp, norm, stack
from zoo.layers.dropout import EMBEDDINGS, dropout, fold, keys, layer_drop
from zoo.layers.mask import Mask
from zoo.markers import block
from zoo.models import speech
from zoo.outputs import SpeechOutput
from zoo.spec import ArraySpec, Tree, scope

IGNORED = ()
INERT = (  # of losses, or derived
    "contrastive_logits_temperature",
    "ctc_loss_reduction",
    "ctc_zero_infinity",
    "diversity_loss_weight",
    "feat_extract_dropout",
    "mask_channel_length",
    "mask_channel_min_space",
    "mask_channel_other",
    "mask_channel_prob",
    "mask_channel_selection",
    "mask_time_min_space",
    "mask_time_other",
    "mask_time_selection",
    "no_mask_channel_overlap",
    "no_mask_time_overlap",
    "num_feat_extract_layers",
    "num_negatives",
)
EPS = 1e-5  # of the norms that do not take the config's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What changes the arithmetic, spelled as in `config.json`."""

    vocab_size: int | None = 32
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float = 0.1
    activation_dropout: float = 0.1
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    feat_quantizer_dropout: float = 0.0
    final_dropout: float = 0.1
    layerdrop: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False
    apply_spec_augment: bool = True
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = dataclasses.field(default=2, metadata={"least": 0})
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = dataclasses.field(default=0, metadata={"least": 0})
    num_codevectors_per_group: int = 320
    num_codevector_groups: int = 2
    codevector_dim: int = 256
    proj_codevector_dim: int = 256
    use_weighted_layer_sum: bool = False
    classifier_proj_size: int = 256
    tdnn_dim: tuple[int, ...] = (512, 512, 512, 512, 1500)
    tdnn_kernel: tuple[int, ...] = (5, 3, 3, 1, 1)
    tdnn_dilation: tuple[int, ...] = (1, 2, 3, 1, 1)
    xvector_output_dim: int = 512
    add_adapter: bool = False
    adapter_kernel_size: int = 3
    adapter_stride: int = 2
    num_adapter_layers: int = 3
    output_hidden_size: int | None = None
    adapter_attn_dim: int | None = None
    num_labels: int = 2

    def __post_init__(self):
        wholes = {
            "num_attention_heads": self.hidden_size,
            "num_conv_pos_embedding_groups": self.hidden_size,
            "num_codevector_groups": self.codevector_dim,
        }
        for name, size in wholes.items():
            if size % getattr(self, name):
                raise ValueError(f"{name}: {getattr(self, name)} does not divide {size}")
        for names in (("conv_dim", "conv_stride", "conv_kernel"),
                      ("tdnn_dim", "tdnn_kernel", "tdnn_dilation")):  # fmt: skip
            sizes = [len(getattr(self, name)) for name in names]
            if len(set(sizes)) > 1 or not sizes[0]:
                raise ValueError(f"{', '.join(names)}: found {sizes} layers, expected as many each")
        if self.feat_extract_norm not in ("group", "layer"):
            raise ValueError(
                f"feat_extract_norm: found {self.feat_extract_norm!r}, expected 'group' or 'layer'"
            )
        if self.output_hidden_size is None:
            object.__setattr__(self, "output_hidden_size", self.hidden_size)
        activation.check(self.hidden_act, where="hidden_act")
        activation.check(self.feat_extract_activation, where="feat_extract_activation")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each layer: all alike."""
        return ("encoder",) * self.num_hidden_layers

    @property
    def width(self) -> int:
        """Of the body's output."""
        return (self.output_hidden_size or 0) if self.add_adapter else self.hidden_size

    @property
    def masks(self) -> bool:
        """Whether there is a vector for hidden frames."""
        return self.mask_time_prob > 0 or self.mask_feature_prob > 0

    def frames(self, samples: Any) -> Any:
        """Frames that the convolutions make of so many samples."""
        return conv1d.lengths(samples, self.conv_kernel, self.conv_stride)

    def adapted(self, frames: Any) -> Any:
        """Frames that the adapter leaves, if there is one."""
        many = self.num_adapter_layers if self.add_adapter else 0
        return conv1d.lengths(frames, (1,) * many, (self.adapter_stride,) * many)


def limits(c: Config) -> dict[str, int]:
    """Exclusive upper bounds of integer inputs."""
    return {}


def check_inputs(c: Config, arrays: Mapping[str, Any], where: str) -> None:
    """Checks shapes beside recordings [B, S].

    Raises:
      ValueError: a recording too short for one frame, a mask of another shape.
    """
    batch, samples = arrays["input_values"].shape
    frames = c.frames(samples)
    if frames < 1:
        least = 1
        for width, stride in zip(c.conv_kernel[::-1], c.conv_stride[::-1], strict=True):
            least = (least - 1) * stride + width
        raise ValueError(
            f"{where}: input_values has {samples} samples, expected at least {least}, one frame; "
            f"pad the recordings"
        )
    wanted = {"attention_mask": (batch, samples), "mask_time_indices": (batch, frames)}
    for name, want in wanted.items():
        if name in arrays and tuple(arrays[name].shape) != want:
            raise ValueError(
                f"{where}: {name} has shape {tuple(arrays[name].shape)}, expected {want} beside "
                f"input_values of shape {(batch, samples)}; make both together"
            )


def conv_specs(c: Config) -> tuple[Tree, ...]:
    """The convolutions over samples: all have layer norms, or the first an instance norm."""
    found = []
    for i, (out, width) in enumerate(zip(c.conv_dim, c.conv_kernel, strict=True)):
        inp = c.conv_dim[i - 1] if i else 1
        one = {"conv": conv1d.specs("conv", out, inp, width, bias=c.conv_bias)}
        if c.feat_extract_norm == "layer" or i == 0:
            one["norm"] = norm.specs("layer_norm", out)
        found.append(scope(f"feature_extractor.conv_layers.{i}", one))
    return tuple(found)


def block_specs(c: Config) -> Tree:
    """One layer."""
    size = c.hidden_size
    attn = attention.specs(
        embed=size,
        heads=c.num_attention_heads,
        kv_heads=c.num_attention_heads,
        head_dim=size // c.num_attention_heads,
        bias=True,
        out_bias=True,
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
    )
    names = ("feed_forward.intermediate_dense", "feed_forward.output_dense")
    tree = {
        "attn": scope("attention", attn),
        "attn_norm": norm.specs("layer_norm", size),
        "mlp": mlp.plain_specs(embed=size, hidden=c.intermediate_size, names=names),
        "mlp_norm": norm.specs("final_layer_norm", size),
    }
    if c.adapter_attn_dim is not None and c.do_stable_layer_norm:
        inner = mlp.plain_specs(
            embed=size, hidden=c.adapter_attn_dim, names=("linear_1", "linear_2")
        )
        tree["adapter"] = scope("adapter_layer", {"norm": norm.specs("norm", size), "mlp": inner})
    return tree


def adapter_specs(c: Config) -> Tree:
    """Convolutions that shorten the output."""
    size = c.width
    tree: dict[str, Any] = {}
    if size != c.hidden_size:
        tree["proj"] = linear.specs("proj", size, c.hidden_size, axes=(None, "embed"))
        tree["norm"] = norm.specs("proj_layer_norm", size)
    width = c.adapter_kernel_size
    tree["convs"] = tuple(
        conv1d.specs(f"layers.{i}.conv", 2 * size, size, width) for i in range(c.num_adapter_layers)
    )
    return scope("adapter", tree)


def specs(c: Config, *, layers: stack.Build = stack.loop) -> Tree:
    """Every parameter of the body."""
    size, heard = c.hidden_size, c.conv_dim[-1]
    one = scope("encoder.layers.{}", block_specs(c))
    tree = {
        "convs": conv_specs(c),
        "heard_norm": norm.specs("feature_projection.layer_norm", heard, axis=None),
        "proj": linear.specs("feature_projection.projection", size, heard, axes=("embed", None)),
        "positions": conv1d.normed_specs(
            "encoder.pos_conv_embed.conv",
            size,
            size,
            c.num_conv_pos_embeddings,
            groups=c.num_conv_pos_embedding_groups,
        ),
        "norm": norm.specs("encoder.layer_norm", size),
        "layers": layers(c.kinds, lambda kind: one),
    }
    if c.masks:
        tree["masked"] = ArraySpec(shape=(size,), axes=("embed",), name="masked_spec_embed")
    return tree | ({"adapter": adapter_specs(c)} if c.add_adapter else {})


@block
def heard(p: Tree, x: jax.Array, *, c: Config) -> jax.Array:
    """Samples [B, S] -> what the convolutions find in them [B, T, C]."""
    x = x[..., None]
    for one, stride in zip(p, c.conv_stride, strict=True):
        x = conv1d.conv1d(one["conv"], x, stride=stride)
        if "norm" in one:
            layered = c.feat_extract_norm == "layer"
            x = (norm.layer_norm if layered else norm.instance_norm)(one["norm"], x, eps=EPS)
        x = activation.activation(x, name=c.feat_extract_activation)
    return x


@block
def positions(p: Tree, x: jax.Array, *, c: Config) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: where a frame stands shows in its surroundings."""
    width = c.num_conv_pos_embeddings
    around = (width // 2, width // 2 - (width % 2 == 0))
    y = conv1d.conv1d(p, x, padding=around, groups=c.num_conv_pos_embedding_groups)
    return activation.activation(y, name=c.feat_extract_activation)


@block
def layer(
    p: Tree, x: jax.Array, context: attention.Context, key: jax.Array | None, *, c: Config
) -> jax.Array:
    """x [B, T, E] -> [B, T, E]: norms come after each sum, or before each sublayer if stable."""
    drop = functools.partial(dropout, rate=c.hidden_dropout)
    layer_norm = functools.partial(norm.layer_norm, eps=c.layer_norm_eps)
    k1, k2, k3, k4 = keys(key, 4)
    attend = functools.partial(attention.attend, p["attn"], rate=c.attention_dropout)
    network = functools.partial(
        mlp.plain, p["mlp"], act=c.hidden_act, rate=c.activation_dropout, key=k3
    )
    if not c.do_stable_layer_norm:
        y, _ = attend(x, None, context, k1)
        x = layer_norm(p["attn_norm"], x + drop(y, k2))
        return layer_norm(p["mlp_norm"], x + drop(network(x), k4))
    y, _ = attend(layer_norm(p["attn_norm"], x), None, context, k1)
    x = x + drop(y, k2)
    x = x + drop(network(layer_norm(p["mlp_norm"], x)), k4)
    if "adapter" in p:
        y = norm.layer_norm(p["adapter"]["norm"], x, eps=EPS)
        x = x + mlp.plain(p["adapter"]["mlp"], y, act="relu")
    return x


def adapt(c: Config, p: Tree, x: jax.Array) -> jax.Array:
    """x [B, T, E] -> [B, U, E']; layers are never dropped here, the length depends on them."""
    if "proj" in p:
        x = norm.layer_norm(p["norm"], linear.linear(p["proj"], x), eps=EPS)
    for one in p["convs"]:
        y = conv1d.conv1d(one, x, stride=c.adapter_stride, padding=(1, 1))
        value, gate = jnp.split(y, 2, axis=-1)
        x = value * jax.nn.sigmoid(gate)
    return x


def apply(
    c: Config,
    params: Tree,
    *,
    input_values: jax.Array,
    attention_mask: jax.Array | None = None,
    mask_time_indices: jax.Array | None = None,
    output_hidden_states: bool = False,
    dropout_key: jax.Array | None = None,
) -> SpeechOutput:
    """Vectors of frames of recordings.

    Args:
      c: the architecture.
      params: the tree that `specs` declares.
      input_values: [B, S], samples.
      attention_mask: [B, S] with 1 for samples and 0 for padding, which must be on the right.
      mask_time_indices: [B, T], frames that are hidden from the encoder.
      output_hidden_states: return the output of every layer too.
      dropout_key: switches dropout and SpecAugment on.
    """
    drop = functools.partial(dropout, key=fold(dropout_key, EMBEDDINGS))
    x = heard(params["convs"], input_values.astype(params["proj"]["weight"].dtype), c=c)
    features = norm.layer_norm(params["heard_norm"], x, eps=c.layer_norm_eps)
    x = drop(linear.linear(params["proj"], features), rate=c.feat_proj_dropout)
    valid = None
    if attention_mask is not None:
        count = c.frames(attention_mask.astype(jnp.int32).sum(-1))
        valid = speech.valid_frames(count, x.shape[1])
    if mask_time_indices is not None and not c.masks:
        raise ValueError(
            "mask_time_indices: the model has no vector for hidden frames, expected "
            "mask_time_prob or mask_feature_prob above 0; change the config"
        )
    if c.apply_spec_augment and c.masks:
        count = None if valid is None else valid.sum(-1)
        hide_key = fold(dropout_key, EMBEDDINGS + 1)
        x = speech.hide(c, x, params["masked"], mask_time_indices, hide_key, count)
    if valid is not None:
        x = jnp.where(valid[..., None], x, jnp.zeros_like(x))
    x = x + positions(params["positions"], x, c=c)
    if not c.do_stable_layer_norm:
        x = norm.layer_norm(params["norm"], x, eps=c.layer_norm_eps)
    x = dropout(x, fold(dropout_key, EMBEDDINGS + 2), rate=c.hidden_dropout)
    x = hint(x, "batch", "length", None)

    context = attention.Context(mask=Mask(valid=valid).array())

    def step(kind: str, p: Tree, x: jax.Array, cache: Any, i: Any, key: jax.Array | None) -> Any:
        return layer_drop(x, layer(p, x, context, key, c=c), key, rate=c.layerdrop), None

    x, _, inner = stack.run(
        step, c.kinds, params["layers"], x, key=dropout_key, collect=output_hidden_states
    )
    states = None if inner is None else (*inner, x)
    if c.do_stable_layer_norm:
        x = norm.layer_norm(params["norm"], x, eps=c.layer_norm_eps)
    if "adapter" in params:
        x = adapt(c, params["adapter"], x)
    return SpeechOutput(last_hidden_state=x, extract_features=features, hidden_states=states)


TASKS = speech.heads("Wav2Vec2", specs, apply, prefix="wav2vec2") | {
    "Wav2Vec2ForPreTraining": tasks.headed(
        "pretraining",
        specs,
        apply,
        prefix="wav2vec2",
        head_specs=speech.pretraining_specs,
        head=speech.pretraining,
    ),
}
