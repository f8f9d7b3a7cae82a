"""Tiny tokenizers of every kind, trained here, each in a folder as a repository would have it."""

import json
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind at all.",
    "Unbelievable! 1234567890 tokens & symbols: <html> {json} [list] (tuple) #tag @user $5.00",
    "naïve café résumé — Zoë’s coöperation; straße, Ångström, İstanbul, ﬁne ½ ™",
    "日本語のテキストを分割する。中文分词测试。 한국어 텍스트 분할",
    "Привет, мир! Как дела? مرحبا بالعالم שלום עולם नमस्ते दुनिया",
    "def f(x):\n    return x ** 2  # comment\n\tprint('hello')\n",
    "we're they've I'm you'll he'd it's can't won't",
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪 emoji are fun 😀😀😀",
    "lower lowest newer newest wider widest low new wide",
    "user: hello\nassistant: hi there\nsystem: be nice",
] * 6

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def write(folder: Path, name: str, value) -> None:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    (folder / name).write_text(text, encoding="utf-8")


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def wordpiece(folder: Path, lower: bool = True, special: tuple[str, ...] = BERT) -> Path:
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=600, special_tokens=list(special))
    )
    vocab = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    write(folder, "vocab.txt", "".join(f"{token}\n" for token, _ in vocab))
    return folder


def byte_level(folder: Path, special: list[str]) -> Path:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(CORPUS, trainer)
    model = json.loads(backend.to_str())["model"]
    write(folder, "vocab.json", model["vocab"])
    merges = (" ".join(m) if isinstance(m, list) else m for m in model["merges"])
    write(folder, "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")
    return folder


def piece(folder: Path, name: str, kind: str, **options) -> Path:
    prefix = folder / "trained"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(prefix),
        model_type=kind,
        minloglevel=2,
        hard_vocab_limit=False,
        **options,
    )
    prefix.with_suffix(".model").rename(folder / name)
    prefix.with_suffix(".vocab").unlink()
    return folder


def build_bert(folder):
    write(wordpiece(folder), "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})


def build_bert_cased(folder):
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 512}
    write(wordpiece(folder, False), "tokenizer_config.json", config)


def build_bert_accents(folder):
    config = {
        "tokenizer_class": "BertTokenizerFast",
        "strip_accents": False,
        "tokenize_chinese_chars": False,
    }
    write(wordpiece(folder), "tokenizer_config.json", config)


def build_distilbert(folder):
    write(wordpiece(folder), "tokenizer_config.json", {"tokenizer_class": "DistilBertTokenizer"})


def build_mpnet(folder):
    wordpiece(folder, special=("<s>", "<pad>", "</s>", "[UNK]", "<mask>"))
    config = {"tokenizer_class": "MPNetTokenizer", "model_max_length": 512}
    write(folder, "tokenizer_config.json", config)


def deberta_v2(folder, **config):
    options = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    options |= {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]"}
    options |= {"unk_piece": "[UNK]", "user_defined_symbols": ["[MASK]"]}
    piece(folder, "spm.model", "unigram", vocab_size=450, **options)
    config = {"tokenizer_class": "DebertaV2Tokenizer", **config}
    write(folder, "tokenizer_config.json", config)


def build_deberta_v2(folder):
    deberta_v2(folder, do_lower_case=False, vocab_type="spm")


def build_deberta_v2_split(folder):
    deberta_v2(folder, do_lower_case=True, split_by_punct=True)


def build_gpt2(folder):
    byte_level(folder, ["<|endoftext|>"])
    write(folder, "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})


def build_gpt2_prefix(folder):
    byte_level(folder, ["<|endoftext|>"])
    config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "add_bos_token": True}
    write(folder, "tokenizer_config.json", config)


def build_gpt_neox(folder):
    byte_level(folder, ["<|endoftext|>", "<|padding|>"])
    write(folder, "tokenizer_config.json", {"tokenizer_class": "GPTNeoXTokenizer"})


def build_roberta(folder):
    byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    config = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}
    write(folder, "tokenizer_config.json", config)


def build_modernbert(folder):
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([tokenizers.AddedToken("[MASK]", lstrip=True, special=True)])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    write(folder, "tokenizer.json", backend.to_str())
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 8192,
        **{f"{name.strip('[]').lower()}_token": name for name in special},
    }
    write(folder, "tokenizer_config.json", config)


def build_qwen2(folder):
    byte_level(folder, [])
    size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "added_tokens_decoder": {
            str(size + i): {"content": name, **flags, "special": True}
            for i, name in enumerate(names)
        },
        "additional_special_tokens": names[1:],
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "chat_template": TEMPLATE,
    }
    write(folder, "tokenizer_config.json", config)


LLAMA = {
    "vocab_size": 700,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "character_coverage": 0.98,
    "split_digits": True,
    "user_defined_symbols": ["<|im_start|>", "<|im_end|>"],
}


def build_llama(folder):
    piece(folder, "tokenizer.model", "bpe", **LLAMA)
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
        "pad_token": "<unk>",
        "chat_template": TEMPLATE,
    }
    write(folder, "tokenizer_config.json", config)


def build_llama_legacy(folder):
    piece(folder, "tokenizer.model", "bpe", **LLAMA)
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": True,
        "legacy": True,
        "padding_side": "right",
        "pad_token": "</s>",
    }
    write(folder, "tokenizer_config.json", config)


def build_t5(folder):
    piece(
        folder, "spiece.model", "unigram", vocab_size=450,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )  # fmt: skip
    write(folder, "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 10})


def build_xlm_roberta(folder):
    piece(folder, "sentencepiece.bpe.model", "unigram", vocab_size=450)
    write(folder, "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})


def build_albert(folder):
    symbols = ["[CLS]", "[SEP]", "[MASK]"]
    piece(
        folder, "spiece.model", "unigram", vocab_size=450, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1,
        control_symbols=symbols,
    )  # fmt: skip
    write(folder, "tokenizer_config.json", {"tokenizer_class": "AlbertTokenizer"})


def build_gemma(folder):
    options = {**LLAMA, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
    options |= {"bos_piece": "<bos>", "eos_piece": "<eos>", "add_dummy_prefix": False}
    options["user_defined_symbols"] = ["<mask>", "<start_of_turn>", "<end_of_turn>"]
    piece(folder, "tokenizer.model", "bpe", **options)
    config = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}
    write(folder, "tokenizer_config.json", config)


def build_phi3(folder):
    """Llama's, whose added tokens swallow the spaces behind them."""
    piece(folder, "tokenizer.model", "bpe", **(LLAMA | {"user_defined_symbols": []}))
    flags = {"lstrip": False, "single_word": False, "normalized": False, "special": True}
    names = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
    size = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model")).get_piece_size()
    added = {2: {"content": "</s>", "rstrip": True, **flags, "special": False}}
    added |= {size + i: {"content": name, "rstrip": i > 0, **flags} for i, name in enumerate(names)}
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": False,
        "add_eos_token": False,
        "added_tokens_decoder": {str(i): token for i, token in added.items()},
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "legacy": False,
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "unk_token": "<unk>",
        "chat_template": TEMPLATE,
    }
    write(folder, "tokenizer_config.json", config)


def build_bloom(folder):
    """A `tokenizer.json` alone: words by a pattern of its own, bytes of anything."""
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    backend = tokenizers.Tokenizer(models.BPE())
    words = tokenizers.Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    write(folder, "tokenizer.json", backend.to_str())
    kinds = ("unk_token", "bos_token", "eos_token", "pad_token")
    names = dict(zip(kinds, special, strict=True))
    config = {"tokenizer_class": "BloomTokenizerFast", "padding_side": "left", **names}
    write(folder, "tokenizer_config.json", config)


BUILDERS = {
    name.removeprefix("build_"): build
    for name, build in list(globals().items())
    if name.startswith("build_")
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """kind -> folder, built on first use."""
    made = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            BUILDERS[kind](made[kind])
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def pairs(folders):
    """kind -> (ours, transformers')."""
    from transformers import AutoTokenizer

    from zoo.tokenizers import Tokenizer

    made = {}

    def pair(kind: str):
        if kind not in made:
            folder = folders(kind)
            made[kind] = Tokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        return made[kind]

    return pair
