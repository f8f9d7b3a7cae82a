"""What a tokenizer class of transformers implies: default tokens, model inputs, how it is built.

A family is looked up by the `tokenizer_class` of `tokenizer_config.json` or `config.json` (with or
without `Fast`), else by `model_type`. With a `tokenizer.json` an unknown class is a plain tokenizer
without defaults; without one it is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

PLAIN = ("input_ids", "attention_mask")
TYPED = ("input_ids", "token_type_ids", "attention_mask")

BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
ROBERTA = {
    **{"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>"},
    **{"pad": "<pad>", "cls": "<s>", "mask": "<mask>"},
}
ALBERT = {
    **{"bos": "[CLS]", "eos": "[SEP]", "unk": "<unk>", "sep": "[SEP]"},
    **{"pad": "<pad>", "cls": "[CLS]", "mask": "[MASK]"},
}
DEBERTA = {**BERT, "bos": "[CLS]", "eos": "[SEP]"}
ENDOFTEXT = {"unk": "<|endoftext|>", "bos": "<|endoftext|>", "eos": "<|endoftext|>"}
QWEN2 = {"unk": "<|endoftext|>", "eos": "<|endoftext|>", "pad": "<|endoftext|>"}
LLAMA = {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}
T5 = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
CTC = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "pad": "<pad>", "word_delimiter": "|"}
GEMMA = {"unk": "<unk>", "bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "mask": "<mask>"}


@dataclass(frozen=True)
class Family:
    """Defaults of one tokenizer class.

    `build` names the recipe for vocabulary files ("" where only a `tokenizer.json` will do),
    `tokens` the special tokens without their `_token` suffix, `add_bos` whether texts begin with
    `<s>` where the config does not say.
    """

    build: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = PLAIN
    padding_side: str = "right"
    add_bos: bool = False


_BERT = Family("bert", BERT, TYPED)
_ROBERTA = Family("roberta", ROBERTA)
_GPT2 = Family("gpt2", ENDOFTEXT)

FAMILIES: dict[str, Family] = {
    "PreTrainedTokenizer": Family(),
    "TokenizersBackend": Family(),
    "AlbertTokenizer": Family("albert", ALBERT),
    "BartTokenizer": _ROBERTA,
    "BertTokenizer": _BERT,
    "CLIPTokenizer": Family("", {**ENDOFTEXT, "bos": "<|startoftext|>", "pad": "<|endoftext|>"}),
    "CamembertTokenizer": Family("", ROBERTA),
    "CodeGenTokenizer": _GPT2,
    "DebertaTokenizer": Family("", DEBERTA, (*PLAIN, "token_type_ids")),
    "DebertaV2Tokenizer": Family("deberta-v2", DEBERTA, (*PLAIN, "token_type_ids")),
    "DistilBertTokenizer": Family("bert", BERT),
    "ElectraTokenizer": _BERT,
    "GPT2Tokenizer": _GPT2,
    "GPTNeoXTokenizer": Family("gpt_neox", {**ENDOFTEXT, "pad": "<|padding|>"}),
    "GemmaTokenizer": Family("gemma", GEMMA, padding_side="left", add_bos=True),
    "LEDTokenizer": _ROBERTA,
    "LlamaTokenizer": Family("llama", LLAMA, padding_side="left", add_bos=True),
    "LongformerTokenizer": _ROBERTA,
    "LxmertTokenizer": _BERT,
    "MPNetTokenizer": Family("mpnet", {**ROBERTA, "unk": "[UNK]"}),
    "MobileBertTokenizer": _BERT,
    "Qwen2Tokenizer": Family("qwen2", QWEN2),
    "RobertaTokenizer": _ROBERTA,
    "T5Tokenizer": Family("t5", T5),
    "Wav2Vec2CTCTokenizer": Family("ctc", CTC),
    "WhisperTokenizer": Family("", ENDOFTEXT),
    "XLMRobertaTokenizer": Family("xlm-roberta", ROBERTA),
}

_CLASSES = {
    "AlbertTokenizer": ("albert", "yoso"),
    "BertTokenizer": ("bert", "convbert", "electra", "ernie", "layoutlm", "megatron-bert"),
    "CLIPTokenizer": ("clip", "clip_text_model"),
    "CamembertTokenizer": ("camembert",),
    "DebertaTokenizer": ("deberta",),
    "DebertaV2Tokenizer": ("deberta-v2",),
    "DistilBertTokenizer": ("distilbert",),
    "GPT2Tokenizer": ("gpt2", "gpt_neo", "gptj", "opt", "phi", "starcoder2", "codegen"),
    "GPTNeoXTokenizer": ("gpt_neox", "olmo", "mamba", "mamba2", "mpt", "rwkv"),
    "GemmaTokenizer": ("gemma", "gemma2", "gemma3", "gemma3_text", "recurrent_gemma", "t5gemma"),
    "LlamaTokenizer": ("llama", "llava", "mistral", "mixtral", "phi3"),
    "MPNetTokenizer": ("mpnet",),
    "MobileBertTokenizer": ("mobilebert",),
    "Qwen2Tokenizer": (
        *("qwen2", "qwen2_5_vl", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_moe", "qwen3_next"),
    ),
    "RobertaTokenizer": ("roberta", "roberta-prelayernorm", "bart", "longformer", "data2vec-text"),
    "T5Tokenizer": ("t5", "mt5", "umt5", "switch_transformers"),
    "Wav2Vec2CTCTokenizer": ("wav2vec2", "hubert", "sew", "unispeech", "unispeech-sat", "wavlm"),
    "WhisperTokenizer": ("whisper",),
    "XLMRobertaTokenizer": ("xlm-roberta", "xmod"),
}
MODEL_TYPES = {kind: name for name, kinds in _CLASSES.items() for kind in kinds}


def family(tokenizer_class: str | None) -> Family:
    """The defaults of a tokenizer class, with or without `Fast`; unknown classes have none."""
    return FAMILIES.get((tokenizer_class or "").removesuffix("Fast"), Family())
