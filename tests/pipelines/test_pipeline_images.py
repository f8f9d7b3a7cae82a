"""Pipelines of texts with images against transformers' own, on tiny random checkpoints."""

import json
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from PIL import Image
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

import zoo

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
SEEN: dict[str, Any] = SIZES | {"image_size": 28, "patch_size": 14}
LABELS = ["cat", "a very large dog", "x"]
CHAT = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def saved(folder, kind: str, config, special: list[str], single: str, **names: str):
    """A model of random weights and what its texts and images need."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([*LABELS, "This is a photo of"], trainer)
    ids = [(token, made.token_to_id(token)) for token in special[:2]]
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    owner = "CLIPProcessor" if kind == "CLIPModel" else "LlavaProcessor"
    images = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28}, "processor_class": owner,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config(made)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    def config(made):
        texts = {**SIZES, "vocab_size": 300, "eos_token_id": made.token_to_id("<|endoftext|>")}
        return transformers.CLIPConfig(text_config=texts, vision_config=SEEN, projection_dim=24)

    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    return saved(
        tmp_path_factory.mktemp("clip"), "CLIPModel", config,
        ["<|startoftext|>", "<|endoftext|>"], "<|startoftext|> $A <|endoftext|>",
        **names, pad_token="<|endoftext|>",
    )  # fmt: skip


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    def config(made):
        texts = {**SIZES, "model_type": "llama", "vocab_size": 300, "bos_token_id": 0,
                 "eos_token_id": 1, "max_position_embeddings": 99}  # fmt: skip
        return transformers.LlavaConfig(
            text_config=texts,
            vision_config={**SEEN, "model_type": "clip_vision_model"},
            image_token_index=made.token_to_id("<image>"),
        )

    folder = saved(
        tmp_path_factory.mktemp("llava"), "LlavaForConditionalGeneration", config,
        ["<s>", "</s>", "<pad>", "<image>"], "<s> $A",
        bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left",
    )  # fmt: skip
    own = {"processor_class": "LlavaProcessor", "patch_size": 14, "num_additional_image_tokens": 1,
           "vision_feature_select_strategy": "default", "image_token": "<image>"}  # fmt: skip
    (folder / "processor_config.json").write_text(json.dumps(own))
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


@pytest.mark.parametrize("template", ["This is a photo of {}.", "{}"])
def test_zero_shot_image_classification(clip, pictures, reference, same, template):
    ours, theirs = (
        make("zero-shot-image-classification", clip) for make in (zoo.pipeline, reference)
    )
    options = {"candidate_labels": LABELS, "hypothesis_template": template}
    for inputs in (pictures[0], pictures):
        same(ours(inputs, **options), theirs(inputs, **options))


def test_labels_are_texts(clip, pictures):
    ours = zoo.pipeline("zero-shot-image-classification", clip)
    with pytest.raises(ValueError, match="candidate_labels: found none"):
        ours(pictures[0])
    with pytest.raises(ValueError, match="candidate_labels: found 'cat', expected a list"):
        ours(pictures[0], candidate_labels="cat")
    with pytest.raises(ValueError, match="hypothesis_template: found 'a photo', expected"):
        ours(pictures[0], candidate_labels=LABELS, hypothesis_template="a photo")


def test_image_text_to_text(llava, pictures, reference, same):
    ours, theirs = (make("image-text-to-text", llava) for make in (zoo.pipeline, reference))
    image = Image.open(pictures[1])
    options = {"max_new_tokens": 6, "do_sample": False}
    for full in (True, False):
        given = {"images": image, "text": "<image>a photo of"}
        same(
            ours(**given, return_full_text=full, **options),
            theirs(**given, return_full_text=full, **options),
        )


def test_chats_with_images(llava, pictures, reference, same):
    ours, theirs = (make("image-text-to-text", llava) for make in (zoo.pipeline, reference))
    chat = [{"role": "user", "content": [{"type": "image", "image": Image.open(pictures[2])},
                                         {"type": "text", "text": "what?"}]}]  # fmt: skip
    options = {"max_new_tokens": 6, "do_sample": False, "return_full_text": False}
    (found,), (expected,) = ours(chat, **options), theirs(text=chat, **options)
    assert found["generated_text"] == expected["generated_text"]


def test_several_prompts_at_once_are_as_each_alone(llava, pictures):
    ours = zoo.pipeline("image-text-to-text", llava)
    images = [Image.open(path) for path in pictures]
    prompts = [
        {"images": images[0], "text": "<image>a"},
        {"images": images[1:], "text": "one <image> and another <image>"},
        "no image",
    ]
    options = {"max_new_tokens": 5, "do_sample": False}
    assert ours(prompts, **options) == [ours(one, **options) for one in prompts]


def test_what_is_no_prompt(llava, pictures):
    ours = zoo.pipeline("image-text-to-text", llava)
    with pytest.raises(ValueError, match="found image, expected images and text"):
        ours({"image": pictures[0], "text": "x"})
    with pytest.raises(ValueError, match="text: found NoneType, expected a string"):
        ours({"images": pictures[0]})
    with pytest.raises(ValueError, match="found 0 places <image> for 1 images"):
        ours({"images": pictures[0], "text": "x"})


def test_vectors_of_an_image_tower(clip, pictures, reference, same, tmp_path):
    seen = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SEEN))
    seen.save_pretrained(tmp_path)
    images = json.loads((clip / "preprocessor_config.json").read_text())
    del images["processor_class"]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
    ours, theirs = (
        make("image-feature-extraction", tmp_path) for make in (zoo.pipeline, reference)
    )
    for pool in (False, True):
        same(ours(pictures[1], pool=pool), theirs(pictures[1], pool=pool), 1e-4)
