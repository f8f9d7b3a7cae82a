"""`config.json` <-> an architecture's `Config`, strict both ways.

Every key is either a field of the Config, or known to leave the arithmetic alone, or an error: an
option that is silently ignored would give wrong numbers. Files of transformers 4 (`rope_theta`,
`rope_scaling`) and 5 (`rope_parameters`) are both read.
"""

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bridges import header, quantised, tensorfile
from bridges.config_values import coerce, endless, meant, spelled
from bridges.header import named, show
from zoo import registry
from zoo.layers import rope
from zoo.registry import Architecture, Part

INERT = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _flash_attn_2_enabled _name_or_path
    _num_labels afn architectures attention_dropout attention_probs_dropout_prob
    attn_implementation auto_map bad_words_ids begin_suppress_tokens bos_token_id
    chunk_size_feed_forward classifier_dropout cls_token_id decoder_start_token_id
    directionality diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size
    eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing hidden_dropout hidden_dropout_prob id2label
    initializer_range is_decoder keys_to_ignore_at_inference label2id length_penalty
    mask_token_id max_length max_window_layers min_length model_max_length model_type n_ctx
    n_special name name_or_path no_repeat_ngram_size num_beam_groups num_beams num_labels
    num_return_sequences output_attentions output_hidden_states output_past output_scores
    pad_token_id pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
    pooler_size_per_head pooler_type predict_special_tokens prefix pretraining_tp problem_type
    remove_invalid_values reorder_and_upcast_attn repetition_penalty return_dict
    return_dict_in_generate sbert_ce_default_activation_function sentence_transformers
    sep_token_id summary_activation summary_first_dropout summary_last_dropout
    summary_proj_to_labels summary_type summary_use_proj suppress_tokens task_specific_params
    temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache
    use_return_dict
    """.split()
)
# Keys that some files carry although the architecture has no such option: these values mean "off".
NEUTRAL: Mapping[str, tuple[Any, ...]] = types.MappingProxyType(
    {
        "add_cross_attention": (False, None),
        "attention_bias": (False, None),
        "cross_attention_hidden_size": (None,),
        "is_encoder_decoder": (False, None),
        "lm_head_bias": (False, None),
        "mlp_bias": (False, None),
        "position_embedding_type": ("absolute", None),
        "pruned_heads": ({}, None),
        "rope_interleaved": (False, None),
        "sliding_window": (None,),
        "slow_but_exact": (False, None),
        "tie_encoder_decoder": (False, None),
        "tie_word_embeddings": (True, False, None),
        "token_classification_bias": (True, None),
        "use_bidirectional_attention": (False, None),
        "use_mrope": (False, None),
        "use_sliding_window": (False, None),
    }
)
ADVICE: Mapping[str, str] = types.MappingProxyType(
    {
        "add_cross_attention": "cross-attention is not supported here",
        "pruned_heads": "pruned heads are not supported; prune the weights and set "
        "num_attention_heads instead",
    }
)
_NUMBER = re.compile(r"-?[0-9]{1,15}")
ROPE_KEYS = frozenset(
    {
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "partial_rotary_factor",
        "original_max_position_embeddings",
    }
)
LONGEST = 1 << 25  # bytes of a JSON file


def read(path: str | Path) -> dict[str, Any]:
    """Reads a `config.json`, or that of a folder.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not a JSON object.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        return read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: there is no such file; a model folder has a config.json"
        ) from None


def read_json(path: Path, kind: type = dict) -> Any:
    """Reads a JSON object, or an array, from a regular file of a reasonable size.

    Raises:
      FileNotFoundError: there is none.
      PermissionError: it may not be read.
      ValueError: it is something else.
    """
    file, size = tensorfile.open_file(path)
    with file:
        if size > LONGEST:
            raise ValueError(
                f"{path}: found {size} bytes, expected at most {LONGEST}; this is no such file"
            )
        data = tensorfile.read_bytes(file, size, 0, path)
        return header.parse(data, path, kind, infinity=endless)


def plain(raw: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The keys of a config as a JSON file would hold them: lists for tuples, text for numbers.

    Raises:
      ValueError: a value that JSON has no form for.
    """
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where}: found {type(raw).__name__}, expected keys of a config.json")
    try:
        return json.loads(json.dumps(spelled(dict(raw)), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: cannot be written as JSON ({error}); correct it") from None


def parse(arch: Architecture, raw: Mapping[str, Any], *, where: str = "config.json") -> Any:
    """The architecture's Config from the keys of a `config.json`.

    An architecture may have `ALIASES`, other names of fields, `INERT`, keys that leave its
    arithmetic alone, and `upgrade(raw)`, which rewrites the spellings of older files; a class of a
    nested object may have `ALIASES` too.

    Raises:
      ValueError: a key that is unknown or has a value of the wrong type, or an option that this
        architecture does not have; the message names all such keys.
    """
    problems: list[str] = []
    config = _built(arch, raw, problems)
    if not problems:
        return config
    listed = "; ".join(problems[:3])
    count = f"{len(problems)} problems, first: " if len(problems) > 3 else ""
    raise ValueError(f"{where}: {count}{listed}; correct the config")


def _built(arch: Architecture, raw: Mapping[str, Any], problems: list[str]) -> Any:
    if upgrade := getattr(arch.module, "upgrade", None):
        raw = upgrade(raw)
    aliases, inert = (getattr(arch.module, name, {}) for name in ("ALIASES", "INERT"))
    return _made(arch.config, aliases, raw, arch.model_type, problems, inert=inert)


def _made(
    cls: type,
    aliases: Mapping[str, str],
    raw: Mapping[str, Any],
    owner: str,
    problems: list[str],
    *,
    inert: Collection[str] = (),
) -> Any:
    """An instance of a Config, or of a class nested in one; None where there are problems."""
    before = len(problems)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = aliases.get(key, key)
        if name in fields and name != "rope_parameters":
            if name in values and values[name] != value:
                problems.append(f"{key}: found {show(value)}, but {name} {show(values[name])}")
            values[name] = value
        elif "rope_parameters" in fields and key in ROPE_KEYS:
            continue
        elif key == "quantization_config":
            if value is not None and (found := quantised.refusal(value)):
                problems.append(
                    f"{key}: such quantised checkpoints are not supported: {found}; use the "
                    f"original one"
                )
        elif key in NEUTRAL and key not in inert:
            if not any(value is v or value == v for v in NEUTRAL[key]):
                advice = ADVICE.get(key, "it would change the arithmetic")
                problems.append(f"{key}: found {show(value)}, not supported by {owner}: {advice}")
        elif key == "layer_types":
            kinds = value if isinstance(value, list | tuple) else [value]
            if value is not None and any(kind != "full_attention" for kind in kinds):
                problems.append(
                    f"layer_types: found {show(value)}, but {owner} has layers of one kind only"
                )
        elif key not in INERT and key not in inert:
            near = difflib.get_close_matches(key, fields.keys() | aliases, n=1)
            near = f", nearest is {near[0]}" if near else ", it might change the arithmetic"
            problems.append(f"{named(key)}: unknown key{near}")
    if "num_labels" in fields:
        _labels(raw, values, problems)
    hints = typing.get_type_hints(cls)
    for name, value in list(values.items()):
        values[name] = _value(fields[name], hints[name], value, owner, problems)
    if "rope_parameters" in fields:
        _rope(raw, values, fields["rope_parameters"], hints["rope_parameters"], problems)
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        problems.append(str(error))
        return None


def _value(field: dataclasses.Field, hint: Any, value: Any, owner: str, problems: list[str]) -> Any:
    """The value of one field, nested objects included."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    nested: Any = next((o for o in options if o is Part or dataclasses.is_dataclass(o)), None)
    if nested is None or (value is None and type(None) in options):
        return coerce(field.name, meant(value), hint, problems, least=field.metadata.get("least"))
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        problems.append(f"{field.name}: found {show(value)}, expected an object")
        return None
    inner: list[str] = []
    if nested is Part:
        kind: Any = value.get("model_type", field.metadata.get("model_type"))
        try:
            found = registry.architecture(kind)
        except KeyError as error:
            problems.append(f"{field.name}: {error.args[0]}")
            return None
        config = Part(found.model_type, _built(found, value, inner))
    else:
        aliases = getattr(nested, "ALIASES", {})
        config = _made(nested, aliases, value, f"{owner}.{field.name}", inner)
    problems += [f"{field.name}.{problem}" for problem in inner]
    return config


def _labels(raw: Mapping[str, Any], values: dict[str, Any], problems: list[str]) -> None:
    names = raw.get("id2label")
    if names is None:
        return
    if not isinstance(names, dict) or not all(_NUMBER.fullmatch(str(k)) for k in names):
        problems.append(f"id2label: found {show(names)}, expected an object from numbers to names")
        return
    if values.setdefault("num_labels", len(names)) != len(names):
        given = show(values["num_labels"])
        problems.append(f"num_labels: found {given}, but id2label has {len(names)} names")


def _rope(
    raw: Mapping[str, Any],
    values: dict[str, Any],
    field: dataclasses.Field,
    cls: Any,
    problems: list[str],
) -> None:
    """Joins the spellings of transformers 4 and 5 into one `rope_parameters` of the class `cls`.

    That of `Ropes` has a rotation for each kind of layer; others are one that all layers share.
    """
    kinds = [f.name for f in dataclasses.fields(cls)] if cls is rope.Ropes else None
    one_cls: Any = cls if kinds is None else None
    old, new = raw.get("rope_scaling"), raw.get("rope_parameters")
    if old and new and old != new:
        problems.append("rope_scaling and rope_parameters: found both, and they differ")
        return
    given = new if old is None or old == {} else old
    given = {} if given is None else given
    if not isinstance(given, dict) or not all(isinstance(k, str) for k in given):
        problems.append(f"rope_parameters: found {show(given)}, expected an object")
        return
    if kinds is None:
        if any(isinstance(v, dict) for v in given.values()):
            problems.append("rope_parameters: one set per kind of layer is not supported here")
            return
        merged = dict(given)
        for key in ("rope_theta", "partial_rotary_factor"):
            if raw.get(key) is not None and merged.get(key) is None:
                merged[key] = raw[key]
        if raw.get("original_max_position_embeddings") is not None:
            merged["original_max_position_embeddings"] = raw["original_max_position_embeddings"]
        sets = {"": merged}
    elif unknown := sorted(given.keys() - set(kinds)):
        problems.append(
            f"rope_parameters: found {named(unknown[0])}, expected one set for each of "
            f"{', '.join(kinds)}"
        )
        return
    else:
        sets = {kind: given[kind] for kind in kinds if given.get(kind) is not None}
    read: dict[str, rope.Rope] = {}
    default: Any = field.default
    for kind, one in sets.items():
        where = f"rope_parameters.{kind}" if kind else "rope_parameters"
        if not isinstance(one, dict):
            problems.append(f"{where}: found {show(one)}, expected an object")
            return
        own = default if kinds is None else getattr(default, kind)
        one = {"rope_theta": own.rope_theta, **_set(one)}
        try:
            read[kind] = rope.parse(one, where=where, cls=one_cls)
        except ValueError as error:
            problems.append(str(error))
            return
    if kinds is None:
        values["rope_parameters"] = read[""]
    else:
        values["rope_parameters"] = dataclasses.replace(default, **read)


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}


def dump(
    arch: Architecture, config: Any, raw: Mapping[str, Any], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The inverse of `parse`: every original key survives, what changed is written anew.

    `extra` are keys beside the Config, such as `architectures` and `dtype`. Nothing is said of how
    the weights were quantised: they are written as they were read.
    """
    before = parse(arch, raw) if raw else None
    raw = {k: v for k, v in raw.items() if k != "quantization_config" or v is None}
    if before is not None and before != config and hasattr(arch.module, "upgrade"):
        raw = arch.module.upgrade(raw)
    aliases = getattr(arch.module, "ALIASES", {})
    return _dumped(config, before, aliases, {"model_type": arch.model_type, **raw}) | dict(extra)


def _dumped(
    config: Any, before: Any, aliases: Mapping[str, str], raw: Mapping[str, Any]
) -> dict[str, Any]:
    out = dict(raw)
    names = {v: k for k, v in aliases.items()}
    for field in dataclasses.fields(config):
        value: Any = getattr(config, field.name)
        old = None if before is None else getattr(before, field.name)
        if before is not None and old == value:
            continue
        if field.name == "rope_parameters":
            for key in ROPE_KEYS - {f.name for f in dataclasses.fields(config)}:
                out.pop(key, None)
            value = _set(dataclasses.asdict(value))
            value = {k: _set(v) if isinstance(v, dict) else v for k, v in value.items()}
        if field.name == "num_labels":
            out["id2label"] = {str(i): f"LABEL_{i}" for i in range(value)}
            out["label2id"] = {f"LABEL_{i}": i for i in range(value)}
            continue
        alias = names.get(field.name)
        key = alias if alias in out and field.name not in out else field.name
        inner = out.get(key) if isinstance(out.get(key), dict) else {}
        if isinstance(value, Part):
            value = dump(value.architecture, value.config, inner or {}, {})
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            same = old if type(old) is type(value) and inner else None
            value = _dumped(value, same, getattr(value, "ALIASES", {}), inner or {})
        out[key] = spelled(value)
    return out


def text(raw: Mapping[str, Any]) -> str:
    """JSON as it stands in a repository."""
    return json.dumps(raw, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
