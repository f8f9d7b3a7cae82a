"""Settings of generation, spelled as in transformers' `GenerationConfig`.

What transformers has and this package does not yet is refused by name, unless its value changes
nothing. Numbers that the compiled program takes as inputs, and those it is compiled for, are told
apart in `zoo.generate.rules`.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT_NEW_TOKENS = 20  # of transformers, where no length is given
# Settings without effect here, whatever their value: of other decoding strategies, of the form in
# which transformers keeps caches and returns results, and records of where a file came from.
INERT = frozenset(
    """
    assistant_confidence_threshold assistant_early_exit assistant_ensemble_weight
    assistant_lookbehind cache_config cache_implementation compile_config
    continuous_batching_config disable_compile early_stopping generation_kwargs is_assistant
    length_penalty low_memory max_cache_len max_matching_ngram_size num_assistant_tokens
    num_assistant_tokens_schedule output_attentions output_hidden_states prefill_chunk_size
    remove_invalid_values target_lookbehind transformers_version _from_model_config
    """.split()
)
# Settings that are not supported yet, and the values that ask for nothing.
NEUTRAL: Mapping[str, tuple[Any, ...]] = types.MappingProxyType(
    {
        "bad_words_ids": (None,),
        "constraints": (None,),
        "diversity_penalty": (None, 0.0),
        "dola_layers": (None,),
        "encoder_no_repeat_ngram_size": (None, 0),
        "encoder_repetition_penalty": (None, 1.0),
        "epsilon_cutoff": (None, 0.0),
        "eta_cutoff": (None, 0.0),
        "exponential_decay_length_penalty": (None,),
        "force_words_ids": (None,),
        "guidance_scale": (None, 1.0),
        "max_time": (None,),
        "num_beam_groups": (None, 1),
        "num_beams": (None, 1),
        "output_logits": (None, False),
        "output_scores": (None, False),
        "penalty_alpha": (None, 0.0),
        "prompt_lookup_num_tokens": (None,),
        "renormalize_logits": (None, False),
        "return_dict_in_generate": (None, False),
        "sequence_bias": (None,),
        "speculation_type": (None,),
        "stop_strings": (None,),
        "token_healing": (None, False),
        "top_h": (None,),
        "typical_p": (None, 1.0),
        "use_cache": (None, True),
        "use_mtp": (None, False),
        "watermarking_config": (None,),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How to continue a text. None stands for the default of transformers.

    Attributes:
      max_length: tokens of prompt and continuation together.
      max_new_tokens: tokens of the continuation; 20 where neither is given.
      min_length: no end before so many tokens of prompt and continuation.
      min_new_tokens: no end before so many new tokens.
      do_sample: draw tokens; the likeliest one otherwise.
      temperature: divides the scores; above 0.
      top_k: draw from so many of the likeliest tokens; 50 if None, 0 for all.
      top_p: draw from the likeliest tokens whose probabilities sum to this. Holtzman et al. 2019,
        arXiv:1904.09751.
      min_p: draw from tokens at least so likely as this share of the likeliest. Nguyen et al. 2024,
        arXiv:2407.01082.
      repetition_penalty: divides positive scores of tokens that occurred, multiplies negative
        ones. Keskar et al. 2019, arXiv:1909.05858.
      no_repeat_ngram_size: no run of so many tokens occurs twice.
      suppress_tokens: ids that never come.
      begin_suppress_tokens: ids that do not come first.
      forced_bos_token_id: the first token after the decoder's start.
      forced_eos_token_id: the last token, if `max_length` is reached; one of several, the first.
      num_return_sequences: continuations of each prompt.
      pad_token_id: what follows the end of a row that is shorter than others.
      bos_token_id: begins a text.
      eos_token_id: one id or several that end a row.
      decoder_start_token_id: begins the text of a decoder behind an encoder.
      extra: keys of a `generation_config.json` that belong to one architecture, as (key, value).
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = None
    min_new_tokens: int | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    suppress_tokens: tuple[int, ...] | None = None
    begin_suppress_tokens: tuple[int, ...] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | tuple[int, ...] | None = None
    num_return_sequences: int | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    decoder_start_token_id: int | None = None
    extra: tuple[tuple[str, Any], ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            _check(field.name, getattr(self, field.name))
        if self.do_sample is not True and (self.num_return_sequences or 1) > 1:
            raise ValueError(
                f"num_return_sequences: found {self.num_return_sequences} without do_sample: the "
                f"likeliest continuation is one; pass do_sample=True"
            )

    @property
    def ends(self) -> tuple[int, ...]:
        """Every id that ends a row."""
        return _ids(self.eos_token_id)

    @property
    def pad(self) -> int | None:
        """`pad_token_id`, or else the first id that ends a row."""
        return next(iter(self.ends), None) if self.pad_token_id is None else self.pad_token_id

    def get(self, name: str, default: Any = None) -> Any:
        """A key of one architecture."""
        return dict(self.extra).get(name, default)

    def replace(self, **changes: Any) -> "GenerationConfig":
        """Other values for some settings.

        Raises:
          TypeError: a setting that does not exist.
          ValueError: one that is not supported yet, or a value that makes no sense.
        """
        return dataclasses.replace(self, **supported(changes, where="generate"))


NAMES = frozenset(f.name for f in dataclasses.fields(GenerationConfig)) - {"extra"}


def from_file(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a `generation_config.json`; those without a value are left out.

    Nothing is refused here: what is not supported may be replaced by the call.
    """
    return {k: v for k, v in values.items() if v is not None and k not in INERT}


def combine(stored: Mapping[str, Any], given: Mapping[str, Any]) -> GenerationConfig:
    """The settings of a call on top of those stored with the model.

    Raises:
      ValueError: a setting that is not supported yet, or a value that makes no sense.
    """
    known = NAMES | NEUTRAL.keys() | INERT
    extra = {k: v for k, v in stored.items() if k not in known}
    kept = {k: v for k, v in stored.items() if k in known and k not in given}
    if given.get("max_new_tokens") is not None:
        kept.pop("max_length", None)
    elif given.get("max_length") is not None:
        kept.pop("max_new_tokens", None)
    if not (given.get("do_sample") or (kept.get("do_sample") and "do_sample" not in given)):
        kept.pop("num_return_sequences", None)
    settings = supported({**kept, **given}, where="generate", file=kept)
    return GenerationConfig(**settings, extra=tuple(extra.items()))


def supported(
    values: Mapping[str, Any], *, where: str, file: Mapping[str, Any] = types.MappingProxyType({})
) -> dict[str, Any]:
    """Those of the settings that have an effect here.

    `file` are those that come from a `generation_config.json`, for the message.

    Raises:
      TypeError: a setting that does not exist.
      ValueError: one that is not supported yet.
    """
    out = {}
    for name, value in values.items():
        if name in NAMES:
            out[name] = value
        elif name in NEUTRAL:
            if not any(value is v or value == v for v in NEUTRAL[name]):
                source = "generation_config.json asks for" if name in file else "found"
                neutral = NEUTRAL[name][-1]
                raise ValueError(
                    f"{where}: {name}: {source} {value!r}, which is not supported yet; pass "
                    f"{name}={neutral!r}"
                )
        elif name not in INERT:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; nearest is {near[0]}" if near else ""
            raise TypeError(f"{where}: does not take {name}{hint}")
    return out


def _ids(value: int | Sequence[int] | None) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)


_WHOLE = {  # settings that count, and the least value
    "max_length": 1, "max_new_tokens": 1, "min_length": 0, "min_new_tokens": 0, "top_k": 0,
    "no_repeat_ngram_size": 0, "num_return_sequences": 1,
}  # fmt: skip
_SHARES = ("top_p", "min_p")
_SEVERAL = ("eos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens")


def _check(name: str, found: Any) -> None:
    """Checks one setting.

    Raises:
      ValueError: another type, or out of range.
    """
    value: Any = found
    if value is None or name == "extra":
        return
    number: Any = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _WHOLE:
        fits = number and isinstance(value, int) and value >= _WHOLE[name]
        wanted = f"a whole number of at least {_WHOLE[name]}"
    elif name in _SHARES:
        fits, wanted = number and 0 <= value <= 1, "a number from 0 to 1"
    elif name == "do_sample":
        fits, wanted = isinstance(value, bool), "True or False"
    elif name.endswith(("token_id", "tokens")):
        several = name in _SEVERAL
        ids: Any = value if several and isinstance(value, tuple) else (value,)
        fits = all(isinstance(i, int) and not isinstance(i, bool) for i in ids)
        wanted = "ids of tokens" if several else "the id of a token"
    else:
        fits, wanted = number and value > 0, "a number above 0"
    if not fits:
        raise ValueError(f"generate: {name}: found {value!r}, expected {wanted}")
