"""Whatever is in a folder: a model that loads, or one error of a documented type."""

import json
import shutil
import struct

import hypothesis
import pytest
from hypothesis import strategies as st

import zoo
from bridges import config as configs
from zoo import registry

DOCUMENTED = (ValueError, KeyError, OSError)
SIZES = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
CONFIGS = {
    "bert": SIZES
    | {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "intermediate_size": 8,
        "max_position_embeddings": 8,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 0,
        "id2label": {"0": "a", "1": "b"},
        "label2id": {"a": 0, "b": 1},
        "tie_word_embeddings": True,
        "position_embedding_type": "absolute",
    },
    "qwen2": SIZES
    | {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "intermediate_size": 8,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
        "sliding_window": 4,
        "use_sliding_window": True,
        "max_window_layers": 1,
        "layer_types": ["sliding_attention"],
        "tie_word_embeddings": False,
    },
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": 16,
        "n_embd": 8,
        "n_layer": 1,
        "n_head": 2,
        "n_positions": 8,
        "n_inner": None,
        "activation_function": "gelu_new",
        "attn_pdrop": 0.1,
        "layer_norm_epsilon": 1e-5,
        "scale_attn_by_inverse_layer_idx": False,
    },
    "vit": {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "image_size": 8,
        "patch_size": [4, 4],
        "num_channels": 3,
        "qkv_bias": True,
        "id2label": {"0": "a"},
    },
}
INDEX = "model.safetensors.index.json"
SHARED = [hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow]


def some(examples=50):
    """So many examples by default; as many as the profile says in a long run."""
    most = hypothesis.settings.default.max_examples
    return hypothesis.settings(
        max_examples=max(examples, most), suppress_health_check=SHARED, deadline=None
    )


numbers = st.one_of(
    st.integers(-2, 16),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**31, 2**40, 2**63, 2**64, -(2**63), 10**30, 10**400, 1e308, True, False]),
)
words = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["bert", "gelu", "absolute", "full_attention", "linear", "longrope", "a" * 999]
    ),
)
leaves = st.one_of(numbers, words, st.none())
keys = st.one_of(
    words,
    st.sampled_from(
        sorted({key for config in CONFIGS.values() for key in config} | configs.NEUTRAL.keys())
    ),
    st.sampled_from(["type", "rope_type", "factor", "short_factor", "rope_parameters", "head_dim"]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("set"), keys, values),
        st.tuples(st.just("drop"), keys, st.none()),
        st.tuples(st.just("below"), keys, st.tuples(words, values)),
    ),
    min_size=1,
    max_size=3,
)


def mutate(config, edits):
    config = json.loads(json.dumps(config))
    for what, key, value in edits:
        if what == "set":
            config[key] = value
        elif what == "drop":
            config.pop(key, None)
        elif isinstance(config.get(key), dict):
            config[key][value[0]] = value[1]
        elif isinstance(config.get(key), list):
            config[key].append(value[1])
    return config


def attempt(call):
    """Runs a call; what it raises is documented, one line, and bounded."""
    try:
        result = call()
        hypothesis.event("accepted")
        return result
    except DOCUMENTED as error:
        hypothesis.event(type(error).__name__)
        text = str(error)
        assert "\n" not in text
        assert len(text) < 2000
        assert text.isprintable()
        return None


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    for name, config in CONFIGS.items():
        zoo.from_config(config).save_pretrained(root / name)
    zoo.from_pretrained(root / "bert").save_pretrained(root / "shards", max_shard_size="1KB")
    return root


@some(400)
@hypothesis.given(st.sampled_from(sorted(CONFIGS)), edits)
def test_configs(name, edits):
    raw = mutate(CONFIGS[name], edits)

    def parse():
        arch = registry.architecture(raw.get("model_type"))
        config = configs.parse(arch, raw)
        assert configs.parse(arch, configs.dump(arch, config, raw, {})) == config
        return hash(config)

    attempt(parse)


@some(150)
@hypothesis.given(st.sampled_from(sorted(CONFIGS)), edits)
def test_configs_beside_weights(saved, tmp_path, name, edits):
    folder = tmp_path / name
    if not folder.exists():
        shutil.copytree(saved / name, folder)
    (folder / "config.json").write_text(json.dumps(mutate(CONFIGS[name], edits)))
    attempt(lambda: zoo.from_pretrained(folder))


@some()
@hypothesis.given(st.binary(max_size=40), st.integers(0, 1000), st.integers(0, 8))
def test_bytes_of_configs(saved, tmp_path, noise, at, cut):
    folder = tmp_path / "bert"
    if not folder.exists():
        shutil.copytree(saved / "bert", folder)
    data = json.dumps(CONFIGS["bert"]).encode()
    (folder / "config.json").write_bytes(data[:at] + noise + data[at + cut :])
    attempt(lambda: zoo.from_pretrained(folder))


flips = st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(1, 255)), min_size=1, max_size=4)


@some(150)
@hypothesis.given(flips, st.integers(0, 1 << 14), st.booleans())
def test_flipped_and_missing_bytes_of_weights(saved, tmp_path, flips, end, cut):
    folder = tmp_path / "bert"
    if not folder.exists():
        shutil.copytree(saved / "bert", folder)
    data = bytearray((saved / "bert" / "model.safetensors").read_bytes())
    for at, bits in flips:
        data[at % len(data)] ^= bits
    (folder / "model.safetensors").write_bytes(data[: end % len(data)] if cut else data)
    attempt(lambda: zoo.from_pretrained(folder))


@some(100)
@hypothesis.given(st.data())
def test_headers(saved, tmp_path, data):
    folder = tmp_path / "bert"
    if not folder.exists():
        shutil.copytree(saved / "bert", folder)
    whole = (saved / "bert" / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    name = data.draw(st.sampled_from(sorted(header)))
    other = data.draw(st.one_of(st.sampled_from(sorted(header)), words))
    match data.draw(st.integers(0, 3)):
        case 0:
            header[other] = header.pop(name)
        case 1:
            header[name] = header.get(other, data.draw(values))
        case 2:
            part = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
            header[name] = {**header[name], part: data.draw(values)}
        case 3:
            header[name]["shape"] = header[name].get("shape", [])[::-1]
    text = json.dumps(header).encode()
    rest = whole[8 + size :]
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + rest)
    attempt(lambda: zoo.from_pretrained(folder))


@some(100)
@hypothesis.given(edits, st.dictionaries(words, st.one_of(words, values), max_size=3))
def test_indices(saved, tmp_path, edits, more):
    folder = tmp_path / "shards"
    if not folder.exists():
        shutil.copytree(saved / "shards", folder)
    index = json.loads((saved / "shards" / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    for i, (_, key, value) in enumerate(edits):
        name = sorted(index["weight_map"])[i]
        index["weight_map"][name] = files[i % len(files)] if value is None else key
    index["weight_map"] |= more
    (folder / INDEX).write_text(json.dumps(index))
    attempt(lambda: zoo.from_pretrained(folder))


@some(100)
@hypothesis.given(
    st.one_of(
        values,
        st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.one_of(
                        st.sampled_from(["a.Pooling", "b.Normalize", "c.Dense"]), words
                    ),
                    "path": st.one_of(st.sampled_from(["1_Pooling", "..", "/", ""]), values),
                }
            ),
            max_size=3,
        ),
    ),
    st.one_of(
        values,
        st.dictionaries(
            st.sampled_from(
                [
                    "pooling_mode",
                    "pooling_mode_mean_tokens",
                    "pooling_mode_cls_token",
                    "include_prompt",
                ]
            ),
            values,
        ),
    ),
)
def test_poolings(saved, tmp_path, modules, settings):
    folder = tmp_path / "bert"
    if not folder.exists():
        shutil.copytree(saved / "bert", folder)
        (folder / "1_Pooling").mkdir()
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    attempt(lambda: zoo.from_pretrained(folder))


@some()
@hypothesis.given(st.one_of(st.text(max_size=60), st.binary(max_size=60)), st.booleans())
def test_cards(saved, tmp_path, text, front):
    folder = tmp_path / "bert"
    if not folder.exists():
        shutil.copytree(saved / "bert", folder)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    data = b"---\nlicense: " + data + b"\n---\n" if front else data
    (folder / "README.md").write_bytes(data)
    assert zoo.from_pretrained(folder).num_params
