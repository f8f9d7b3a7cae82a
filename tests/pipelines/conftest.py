"""Tiny random checkpoints with their tokenizers, as a repository would hold them."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Ada Lovelace wrote programs in London, long before computers were built!",
    "A",
    "Zürich and Genève are cities; naïve tourists 👍🏽 visit both in unbelievable numbers.",
    "Unbelievably low prices: lower, lowest, newer, newest, wider, widest.",
]
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "initializer_range": 0.3,
}
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def wordpiece(folder, **config):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        TEXTS * 4, trainers.WordPieceTrainer(vocab_size=150, special_tokens=special)
    )
    ids = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    named = {f"{token[1:-1].lower()}_token": token for token in special}
    settings = {"tokenizer_class": "BertTokenizer", "model_max_length": 96} | named | config
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return made.get_vocab_size()


def byte_level(folder, **config):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(TEXTS * 4, trainer)
    settings = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 64}
    settings |= {name: "<|endoftext|>" for name in ("bos_token", "eos_token", "unk_token")}
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | config))
    return made.get_vocab_size()


def save(folder, kind, config):
    torch.manual_seed(sum(map(ord, kind)))
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.normal_(0, 0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """Makes a folder with a BERT of a class."""

    def make(kind, *, settings=None, **config):
        folder = tmp_path_factory.mktemp(kind)
        vocab = wordpiece(folder, **(settings or {}))
        return save(
            folder, kind, transformers.BertConfig(**{**BERT, "vocab_size": vocab, **config})
        )

    return make


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    """Makes a folder with a GPT-2 of a class."""

    def make(kind, *, settings=None, **config):
        folder = tmp_path_factory.mktemp(kind)
        vocab = byte_level(folder, **(settings or {}))
        sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}
        given = {"initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 0, **sizes, **config}
        return save(folder, kind, transformers.GPT2Config(vocab_size=vocab, **given))

    return make


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """A folder with a tiny Llama."""
    folder = tmp_path_factory.mktemp("llama")
    vocab = byte_level(folder)
    config = transformers.LlamaConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    return save(folder, "LlamaForCausalLM", config)


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """Makes a folder with a ViT of a class."""

    def make(kind, **config):
        folder = tmp_path_factory.mktemp(kind)
        sizes = {"image_size": 32, "patch_size": 8, "num_labels": 7}
        small = {k: BERT[k] for k in BERT if k != "max_position_embeddings"}
        save(folder, kind, transformers.ViTConfig(**{**small, **sizes, **config}))
        size = {"height": 32, "width": 32}
        processor = {"image_processor_type": "ViTImageProcessor", "size": size}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        return folder

    return make


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Paths of three images of different sizes."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = []
    for i, (width, height) in enumerate([(32, 32), (50, 40), (41, 77)]):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return [str(path) for path in paths]


@pytest.fixture
def reference(monkeypatch):
    """transformers' pipeline on the CPU, quiet."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    def make(task, folder, **options):
        return transformers.pipeline(task, model=str(folder), device="cpu", **options)

    return make


def assert_same(found, expected, tolerance=1e-5):
    """Equal structure, strings and integers; floats to a tolerance."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert list(found) == list(expected) or set(found) == set(expected)
        for key in expected:
            assert_same(found[key], expected[key], tolerance)
    elif isinstance(expected, list | tuple):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(expected, float | np.floating):
        assert abs(float(found) - float(expected)) <= tolerance * max(1, abs(float(expected)))
    else:
        assert found == expected


@pytest.fixture
def same():
    """The comparison, for tests that cannot import this file."""
    return assert_same
