"""What the matrix does not see of DETR and its siblings: timm's names, earlier layers, stacks."""

import jax
import matrix_case as cases
import numpy as np
import pytest
import torch
from families import FAMILIES
from matrix_case import error

import zoo
from bridges import config as configs
from zoo import registry, spec

ARCH = registry.architecture("detr")
TIMM = {"backbone": "resnet18", "use_timm_backbone": True, "backbone_config": None}


def test_files_of_timm_have_its_names():
    """As torchvision names them too, with one norm after each convolution."""
    raw = {**FAMILIES["detr"].tiny, **TIMM}
    specs = ARCH.tasks["DetrModel"].specs(configs.parse(ARCH, raw))
    units = [("conv1", "bn1")]
    for stage in range(1, 5):
        for i in range(2):
            name = f"layer{stage}.{i}"
            units += [(f"{name}.conv{k}", f"{name}.bn{k}") for k in (1, 2)]
            if stage > 1 and i == 0:
                units.append((f"{name}.downsample.0", f"{name}.downsample.1"))
    norm = ("weight", "bias", "running_mean", "running_var")
    names = {f"{c}.weight" for c, _ in units} | {f"{n}.{x}" for _, n in units for x in norm}
    found = {s.names[0] for s in spec.leaves(specs["backbone"])}
    assert found == {f"backbone.conv_encoder.model.{name}" for name in names}
    stacked = zoo.from_config({"model_type": "detr", **raw}, layers="stacked").specs["backbone"]
    assert {name for s in spec.leaves(stacked) for name in s.names} == found


def test_spellings_of_a_timm_backbone_agree():
    new = {"model_type": "timm_backbone", "backbone": "resnet18", "out_indices": [1, 2, 3, 4]}
    tiny = FAMILIES["detr"].tiny
    one = configs.parse(ARCH, {**tiny, **TIMM})
    other = configs.parse(ARCH, {**tiny, "backbone_config": new, "use_timm_backbone": True})
    assert one == other


def test_objects_after_earlier_layers():
    one = cases.case("detr-object", 0.3)
    model = zoo.from_pretrained(one.folder, config={"auxiliary_loss": True})
    given = cases.inputs(one.row)
    out = model(**given, output_auxiliary=True)
    assert len(out.auxiliary_outputs) == one.row.config["decoder_layers"] - 1
    one.reference.model.decoder.config.auxiliary_loss = True
    try:
        tensors = {k: torch.from_numpy(x) for k, x in given.items()}
        states = one.reference.model(**tensors).intermediate_hidden_states[0]
    finally:
        one.reference.model.decoder.config.auxiliary_loss = False
    boxes = one.reference.bbox_predictor(states).sigmoid().detach()
    assert error(out.auxiliary_outputs[0]["pred_boxes"], boxes) <= 1e-5
    assert model(**given).auxiliary_outputs is None


REFUSED = (
    ({"position_embedding_type": "rotary"}, "position_embedding_type: found 'rotary', expected"),
    ({"d_model": 36}, "d_model: 36 is not a multiple of 8 heads"),
    ({**TIMM, "backbone": "vgg16"}, "backbone: found 'vgg16', expected one of resnet18"),
    ({**TIMM, "dilation": True}, "dilation: found true, which ResNets do not have here"),
    ({"backbone_config": {"model_type": "swin"}}, "backbone_config: found swin, expected resnet"),
)


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_a_detector_that_cannot_be_is_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        zoo.from_config({"model_type": "detr", **FAMILIES["detr"].tiny, **changes})


def test_inputs_that_do_not_fit_are_refused():
    one = cases.case("detr-object", 0.3)
    given = cases.inputs(one.row)
    with pytest.raises(ValueError, match=r"pixel_mask has shape \(4, 9, 9\), expected"):
        one.model(**{**given, "pixel_mask": np.ones((4, 9, 9), np.int32)})
    with pytest.raises(ValueError, match="expected the places of a square map"):
        one.model(inputs_embeds=np.zeros((4, 8, 32), np.float32))
    wide = np.zeros((1, 3, 32, 52 * 32), np.float32)
    with pytest.raises(ValueError, match="expected at most 50 rows and columns"):
        one.model(pixel_values=wide)
    few = {**one.row.config["backbone_config"], "out_features": ["stage4"]}
    raw = {"model_type": "detr", **FAMILIES["detr"].tiny, "backbone_config": few}
    with pytest.raises(ValueError, match="found 1 maps in out_features, expected 3 or more"):
        zoo.from_config(raw, task="image-segmentation")


DEEP = {
    "resnet-image": {"depths": [3, 2, 3]},
    "dinov2-image": {"num_hidden_layers": 3},
    "swin-image": {"depths": [2, 4]},
    "detr-object": {},
}


@pytest.mark.parametrize("id", DEEP)
def test_stacked_layers_are_the_loop(id: str):
    """Outputs, dropout, and for batch norms their statistics."""
    row = cases.BY_ID[id]
    raw = {**row.config, **DEEP[id], "model_type": row.model_type}
    raw["architectures"] = [row.class_name]
    loop, stacked = (zoo.from_config(raw, layers=layers) for layers in ("loop", "stacked"))
    given = cases.inputs(row)
    more = {"train": True} if row.model_type == "resnet" else {"dropout_key": jax.random.key(0)}
    outs = [m(**given, **more, output_hidden_states=id != "resnet-image") for m in (loop, stacked)]
    for (name, x), y in zip(cases.fields(outs[0]).items(), cases.fields(outs[1]).values(),
                            strict=True):  # fmt: skip
        assert error(y, x) <= 1e-5, name
    if stats := getattr(outs[0], "batch_stats", None):
        sums = [sum(float(x.sum()) for x in jax.tree.leaves(s))
                for s in (stats, outs[1].batch_stats)]  # fmt: skip
        assert abs(sums[0] - sums[1]) <= 1e-4 * abs(sums[0])
