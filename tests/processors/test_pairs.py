"""Texts with images: ids equal to transformers' and pixels within 1e-3, from folders it writes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import transformers
from PIL import Image
from tokenizers import models, pre_tokenizers, processors, trainers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from zoo.processors import ImageTextProcessor, PatchProcessor, Processor

TEXTS = ["a photo of a cat", "two dogs, one of them asleep", "x"]
CHAT = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}PLACE{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
PLACES = {"Llava": "<image>", "Qwen2VL": "<|vision_start|><|image_pad|><|vision_end|>"}


def tokenizer(name: str) -> transformers.PreTrainedTokenizerFast:
    """A tiny one of bytes, with the tokens of its family and a beginning and an end."""
    special = {
        "CLIP": ["<|startoftext|>", "<|endoftext|>"],
        "Llava": ["<s>", "</s>", "<unk>", "<pad>", "<image>"],
        "Qwen2VL": ["<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
                    "<|video_pad|>"],
    }[name]  # fmt: skip
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS * 5, trainer)
    if name != "Qwen2VL":
        single = f"{special[0]} $A {special[1]}" if name == "CLIP" else "<s> $A"
        ids = [(token, made.token_to_id(token)) for token in special[:2]]
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    named = {"bos_token": special[0]} if name != "Qwen2VL" else {}
    pad = "<pad>" if name == "Llava" else "<|endoftext|>"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=pad, eos_token=special[1], padding_side="left", **named
    )


def theirs(name: str) -> transformers.ProcessorMixin:
    text, crop = tokenizer(name), {"height": 28, "width": 28}
    if name == "CLIP":
        images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=crop)
        return transformers.CLIPProcessor(images, text)
    template = CHAT.replace("PLACE", PLACES[name])
    if name == "Llava":
        images = LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size=crop)
        return transformers.LlavaProcessor(
            images, text, patch_size=7, vision_feature_select_strategy="default",
            num_additional_image_tokens=1, chat_template=template,
        )  # fmt: skip

    class WithoutVideos(transformers.Qwen2VLProcessor):  # which need torchvision
        def check_argument_for_proper_class(self, name, argument):
            return type(argument)

    images = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, size={"shortest_edge": 256, "longest_edge": 4096}
    )
    return WithoutVideos(images, text, None, chat_template=template)


def saved(name: str, folder: Path) -> Path:
    made = theirs(name)
    made.tokenizer.save_pretrained(folder)
    made.image_processor.save_pretrained(folder)
    own = {"processor_class": f"{name}Processor", "image_processor": made.image_processor.to_dict()}
    if name == "Llava":
        own |= {
            "patch_size": 7, "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default", "image_token": "<image>",
        }  # fmt: skip
    if template := getattr(made, "chat_template", None):
        (folder / "chat_template.jinja").write_text(template)
    (folder / "processor_config.json").write_text(json.dumps(own))
    return folder


@pytest.fixture(scope="module", params=["CLIP", "Llava", "Qwen2VL"])
def pair(request, tmp_path_factory):
    folder = saved(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, theirs(request.param), Processor.from_pretrained(folder), folder


def images(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(3)
    sizes = ((40, 31), (28, 90), (61, 60))
    return [
        Image.fromarray(rng.integers(0, 256, (h, w, 3)).astype(np.uint8)) for h, w in sizes[:count]
    ]


def same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for key, x in expected.items():
        x = np.asarray(x)
        assert found[key].shape == x.shape, key
        if x.dtype.kind == "f":
            assert np.abs(np.asarray(found[key]) - x).max() <= 1e-3, key
        else:
            np.testing.assert_array_equal(found[key], x)


def test_texts_and_images_together(pair):
    name, reference, ours, _ = pair
    assert isinstance(ours, ImageTextProcessor)
    place = PLACES.get(name, "")
    texts = [f"{place}{TEXTS[0]}", TEXTS[2], f"so: {place}{TEXTS[1]}{place}"]
    expected = reference(images=images(3), text=texts, padding=True, return_tensors="np")
    same(ours(images=images(3), text=texts, padding=True), expected)


def test_texts_alone(pair):
    _, reference, ours, _ = pair
    expected = reference(text=TEXTS, padding=True, return_tensors="np")
    same(ours(text=TEXTS, padding=True, return_tensors="np"), expected)


def test_a_folder_of_ours_is_read_alike(pair, tmp_path):
    _, _, ours, _ = pair
    ours.save_pretrained(tmp_path)
    again = Processor.from_pretrained(tmp_path)
    assert again.settings == ours.settings
    place = ours.image_token
    same(again(images=images(1), text=f"{place}x"), ours(images=images(1), text=f"{place}x"))


def test_conversations(pair):
    name, reference, ours, _ = pair
    if name == "CLIP":
        return
    (image,) = images(1)
    chat = [
        {"role": "user", "content": [{"type": "image", "image": image},
                                     {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "a cat"},
    ]  # fmt: skip
    rendered = reference.apply_chat_template(chat, add_generation_prompt=True)
    assert ours.apply_chat_template(chat, add_generation_prompt=True) == rendered
    expected = reference(images=[image], text=[rendered], return_tensors="np")
    same(ours.apply_chat_template(chat, add_generation_prompt=True, tokenize=True), expected)


def test_as_many_images_as_places(pair):
    name, _, ours, _ = pair
    if name == "CLIP":
        return
    with pytest.raises(ValueError, match=r"found 1 places <.*> for 2 images, expected as many"):
        ours(images=images(2), text=f"{ours.image_token}x")
    with pytest.raises(ValueError, match=r"found 2 places <.*> for 0 images, expected as many"):
        ours(text=ours.image_token * 2)


def test_nothing_and_empty_batches(pair):
    _, _, ours, _ = pair
    with pytest.raises(ValueError, match="found neither images nor text"):
        ours()
    with pytest.raises(ValueError, match="found an empty list, expected at least one image"):
        ours(images=[])
    with pytest.raises(ValueError, match="expected a text or several"):
        ours(text=[])
    with pytest.raises(ValueError, match="expected a text or several"):
        ours(text=[np.zeros(3)])
    with pytest.raises(ValueError, match="expected a PIL image, an array"):
        ours(images=[{"array": 1}])


@pytest.mark.parametrize("size", [(28, 28), (3, 500), (1000, 900), (5, 5), (57, 85), (10000, 60)])
def test_sizes_are_chosen_alike(size):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    ours = PatchProcessor.from_dict({"image_processor_type": "Qwen2VLImageProcessor"})
    height, width = size
    assert ours.target(height, width) == smart_resize(height, width, 28, 56 * 56, 28 * 28 * 1280)


def test_a_strip_is_refused():
    ours = PatchProcessor.from_dict({})
    with pytest.raises(ValueError, match="found 5 x 1200 pixels, expected a shape of at most 200"):
        ours(np.zeros((5, 1200, 3), np.uint8))


@pytest.mark.parametrize("key", ["patch_size", "merge_size", "min_pixels"])
def test_numbers_of_patches_are_checked(key):
    with pytest.raises(ValueError, match=rf"{key.replace('min_pixels', 'least')}: found 0|0\.5"):
        PatchProcessor.from_dict({key: 0.5})
