"""Settings: what a file may say, what is refused by name, and that saving loses nothing."""

import json
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from zoo.processors import ImageProcessor, Processor

OLD = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": 224,
}
FAST = {
    **OLD,
    "crop_size": None,
    "data_format": "channels_first",
    "default_to_square": True,
    "device": None,
    "disable_grouping": None,
    "do_center_crop": None,
    "do_convert_rgb": None,
    "do_pad": False,
    "image_processor_type": "ViTImageProcessorFast",
    "input_data_format": None,
    "pad_size": None,
    "processor_class": "SomeProcessor",
    "resample": 3,
    "return_tensors": None,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 384, "width": 384},
}


def folder(path, values, name="preprocessor_config.json", **config):
    path.mkdir(exist_ok=True, parents=True)
    (path / name).write_text(values if isinstance(values, str) else json.dumps(values))
    if config:
        (path / "config.json").write_text(json.dumps(config))
    return path


def test_old_file(tmp_path):
    processor = ImageProcessor.from_pretrained(folder(tmp_path, OLD, model_type="vit"))
    assert processor == ImageProcessor()
    assert processor.size == {"height": 224, "width": 224}
    assert processor.resample == Image.Resampling.BILINEAR


def test_file_of_the_fast_class(tmp_path):
    processor = ImageProcessor.from_pretrained(folder(tmp_path, FAST))
    assert processor.size == {"height": 384, "width": 384}
    assert processor.resample == Image.Resampling.BICUBIC
    assert processor.do_center_crop is False
    assert processor.extra["processor_class"] == "SomeProcessor"


def test_nested_file_wins(tmp_path):
    folder(tmp_path, {**OLD, "size": 7})
    nested = {"image_processor": FAST, "processor_class": "SomeProcessor"}
    path = folder(tmp_path, nested, "processor_config.json")
    assert Processor.from_pretrained(path).size == {"height": 384, "width": 384}
    Processor.from_pretrained(path, size=9).save_pretrained(path)
    assert Processor.from_pretrained(path).size == {"height": 9, "width": 9}
    whole = json.loads((path / "processor_config.json").read_text())
    assert whole["processor_class"] == "SomeProcessor"
    folder(tmp_path, {"processor_class": "SomeProcessor"}, "processor_config.json")
    assert Processor.from_pretrained(path).size == {"height": 9, "width": 9}


@pytest.mark.parametrize(
    ("values", "config", "kind"),
    [
        ({"feature_extractor_type": "ViTFeatureExtractor"}, {}, "ViT"),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, {"model_type": "vit"}, "CLIP"),
        ({"image_processor_type": "BitImageProcessorFast"}, {}, "Bit"),
        ({"image_processor_type": "ViTImageProcessorPil"}, {}, "ViT"),
        ({"size": 224}, {"model_type": "deit"}, "DeiT"),
        ({"size": 224}, {"model_type": "swin"}, "ViT"),
        ({"size": 224}, {}, "ViT"),
    ],
)
def test_class_from_names_or_model_type(tmp_path, values, config, kind):
    path = folder(tmp_path, values, **config)
    assert ImageProcessor.from_pretrained(path).image_processor_type == f"{kind}ImageProcessor"


def test_int_sizes_follow_the_class():
    clip = ImageProcessor.from_dict({"feature_extractor_type": "CLIPFeatureExtractor", "size": 99})
    assert clip.size == {"shortest_edge": 99}
    assert clip.replace(size=50).size == {"shortest_edge": 50}
    assert ImageProcessor(size=[5, 6]).size == {"height": 5, "width": 6}
    assert ImageProcessor(size=5, default_to_square=False).size == {"shortest_edge": 5}


@pytest.mark.parametrize("mode", list(Image.Resampling))
def test_resampling_names(mode):
    for name in (int(mode), mode, mode.name, mode.name.lower(), f"PIL.Image.{mode.name}"):
        assert ImageProcessor(resample=name).resample is mode


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"do_pad": True}, r"1 unsupported key\(s\): do_pad=True"),
        ({"crop": 0.9, "a": 1, "b": 2, "c": 3}, r"4 unsupported key\(s\): a=1, b=2, c=3;"),
        ({"do_resiz": False}, "do_resiz=False"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order=True"),
        ({"data_format": "channels_last"}, "data_format='channels_last'"),
        ({"input_data_format": "channels_last"}, "input_data_format="),
        ({"image_processor_type": "ViTTImageProcessor"}, "nearest: ViTImageProcessor"),
        ({"crop_pct": 0.9}, r"1 unsupported key\(s\): crop_pct=0.9"),
        ({"image_processor_type": "LevitImageProcessor"}, "LevitImageProcessor"),
        ({"image_processor_type": 3}, "found the processor class 3"),
        ({"size": {"longest_edge": 5}}, "size: found the keys longest_edge, expected height"),
        ({"size": {"min_pixels": 5, "max_pixels": 9}}, "max_pixels.min_pixels"),
        ({"size": {}}, "found the keys none"),
        ({"size": 0}, "whole numbers of pixels above 0"),
        ({"size": 2.5}, "whole numbers of pixels above 0"),
        ({"size": True}, "whole numbers of pixels above 0"),
        ({"size": "224"}, "whole numbers of pixels above 0"),
        ({"size": [1, 2, 3]}, "whole numbers of pixels above 0"),
        ({"resample": 60}, r"resample: found 60, expected one of 0 \(nearest\)"),
        ({"resample": "cubic"}, "resample: found 'cubic'"),
        ({"do_resize": "yes"}, "do_resize: found 'yes', expected true or false"),
        ({"rescale_factor": "1/255"}, "rescale_factor: found '1/255'"),
        ({"rescale_factor": float("nan")}, "expected a finite number"),
        ({"image_mean": [0.5, "x"]}, "image_mean: found 'x'"),
        ({"image_mean": []}, "image_mean"),
        ({"image_mean": [0.5, 0.5]}, "image_mean has 2 values, image_std 3"),
        ({"image_std": [1, 0, 1]}, "image_std: found .* divided by"),
        ({"do_center_crop": True}, "do_center_crop needs height and width"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 3}}, "needs height and width"),
    ],
    ids=str,
)
def test_refused_settings(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        Processor.from_pretrained(folder(tmp_path, {**OLD, **values}))


def test_refused_overrides():
    processor = ImageProcessor()
    image = Image.new("RGB", (4, 4))
    with pytest.raises(ValueError, match="do_resiz=False"):
        processor(image, do_resiz=False)
    with pytest.raises(ValueError, match="resample: found 90"):
        processor(image, resample=90)
    with pytest.raises(ValueError, match="none is known for model_type 'levit'"):
        ImageProcessor.from_dict(OLD, model_type="levit")


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"', "", "\x00", "[" * 100_000])
def test_refused_json(tmp_path, text):
    with pytest.raises(ValueError, match=r"preprocessor_config.json: (not valid JSON|found a)"):
        Processor.from_pretrained(folder(tmp_path, text))


def test_refused_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found no preprocessor_config.json"):
        Processor.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"found neither preprocessor_config.json"):
        ImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="image_processor: found a list"):
        Processor.from_pretrained(
            folder(tmp_path, {"image_processor": [1]}, "processor_config.json")
        )
    audio = {"hop": 160, "feature_extractor_type": "FurtherFeatureExtractor"}
    with pytest.raises(ValueError, match="of a processor that is not supported"):
        Processor.from_pretrained(folder(tmp_path / "audio", audio))


def test_repositories_come_through_the_hub(tmp_path, monkeypatch):
    calls = []
    hub = types.ModuleType("bridges.hub")

    def snapshot(repo, patterns, **options):
        calls.append((repo, patterns, options))
        return folder(tmp_path, OLD)

    hub.snapshot = snapshot
    monkeypatch.setitem(sys.modules, "bridges.hub", hub)
    monkeypatch.setattr("bridges.hub", hub, raising=False)
    options = {"revision": "v1", "token": "t", "cache_dir": "c", "local_files_only": True}
    for kind in (ImageProcessor, Processor):
        assert kind.from_pretrained("owner/name", **options) == ImageProcessor()
    names = ["processor_config.json", "preprocessor_config.json", "config.json"]
    assert calls == [("owner/name", names, options)] * 2


@pytest.mark.parametrize(
    "processor",
    [
        ImageProcessor(),
        ImageProcessor.from_dict(FAST),
        ImageProcessor("CLIPImageProcessor", resample="lanczos", image_mean=0.5, image_std=2.0),
        ImageProcessor("DeiTImageProcessor", size={"max_height": 9, "max_width": 7}),
        ImageProcessor(size={"shortest_edge": 9, "longest_edge": 70}, do_convert_rgb=True),
    ],
    ids=str,
)
def test_saving_loses_nothing(tmp_path, processor):
    path = processor.save_pretrained(tmp_path / "new" / "folder")
    assert ImageProcessor.from_pretrained(path.parent) == processor
    assert Processor.from_pretrained(path.parent) == processor
    assert [file.name for file in path.parent.iterdir()] == ["preprocessor_config.json"]
    theirs = AutoImageProcessor.from_pretrained(path.parent, backend="pil").to_dict()
    ours = processor.to_dict()
    for key in theirs.keys() - {"default_to_square"}:
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("kind", [ViTImageProcessorPil, CLIPImageProcessorPil])
def test_reads_what_transformers_saves(tmp_path, kind):
    theirs = kind(size={"height": 30, "width": 40}, image_mean=[0.1, 0.2, 0.3])
    theirs.save_pretrained(tmp_path)
    ours = Processor.from_pretrained(tmp_path).to_dict()
    assert {key: ours[key] for key in theirs.to_dict()} == theirs.to_dict()


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = ImageProcessor().save_pretrained(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ImageProcessor(size=3).save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert ImageProcessor.from_pretrained(tmp_path) == ImageProcessor()


def test_processors_do_not_change():
    processor = ImageProcessor()
    with pytest.raises(AttributeError):
        processor.do_resize = False
    processor(Image.new("RGB", (4, 4)), size=8, do_normalize=False)
    assert processor == ImageProcessor()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(key=st.sampled_from([*ImageProcessor().to_dict(), "do_pad", "other"]), value=JSON)
def test_any_value_is_taken_or_refused(key, value):
    try:
        processor = ImageProcessor.from_dict({**OLD, key: value})
    except ValueError as error:
        assert key in str(error) or "image_" in str(error)  # noqa: PT017
    else:
        assert ImageProcessor.from_dict(json.loads(json.dumps(processor.to_dict()))) == processor
