"""Encoder-decoders beyond the matrix: spellings of files, encoders given, what is refused."""

import json

import jax
import matrix_case as cases
import numpy as np
import pytest
import torch
import transformers
from families import FAMILIES
from families.t5 import T5_V1_1_SMALL
from matrix_case import error
from safetensors.numpy import load_file, save_file

import zoo
from zoo import outputs, spec

T5, BART = (FAMILIES[name].tiny for name in ("t5", "bart"))
IDS = np.array([[5, 6, 7, 1], [9, 8, 1, 0]])
MASK = (IDS != 0).astype(int)
TARGET = np.array([[0, 4, 3], [0, 2, 2]])
GIVEN = {"input_ids": IDS, "attention_mask": MASK, "decoder_input_ids": TARGET}


@pytest.fixture(scope="module", autouse=True)
def _quick_compiler():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def saved(folder, name, config, **options):
    """A model of transformers with weights drawn, in a folder."""
    kind = getattr(transformers, name)
    model = cases.drawn(kind(kind.config_class(**config)).eval(), 0.3)
    model.save_pretrained(folder, **options)
    return model


def rewrite(folder, change):
    """Another set of tensors in the folder."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def same(folder, name, **given):
    """Whether the folder gives the logits or states that transformers reads from it."""
    model = getattr(transformers, name).from_pretrained(folder).eval()
    theirs = model(**{k: torch.from_numpy(x) for k, x in given.items()})
    ours = zoo.from_pretrained(folder)
    assert ours.forward.class_name == name
    return error(ours(**given)[0], theirs[0].detach()) < 1e-5


@pytest.mark.parametrize("said", [False, True])
def test_v1_1_has_an_output_matrix_of_its_own(tmp_path, said):
    saved(tmp_path, "T5ForConditionalGeneration", T5)
    rng = np.random.default_rng(0)
    head = rng.normal(0, 0.3, (T5["vocab_size"], T5["d_model"])).astype(np.float32)
    rewrite(tmp_path, lambda tensors: tensors | {"lm_head.weight": head})
    raw = json.loads((tmp_path / "config.json").read_text())
    raw = {
        k: x for k, x in raw.items() if k not in ("tie_word_embeddings", "scale_decoder_outputs")
    }
    raw |= {} if said else {"tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert same(tmp_path, "T5ForConditionalGeneration", **GIVEN)
    again = zoo.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    assert same(again, "T5ForConditionalGeneration", **GIVEN)
    one, two = (zoo.from_pretrained(folder)(**GIVEN).logits for folder in (tmp_path, again))
    np.testing.assert_array_equal(one, two)


def test_any_name_of_the_embeddings_will_do(tmp_path):
    saved(tmp_path / "t5", "T5ForConditionalGeneration", T5)
    saved(tmp_path / "bart", "BartForConditionalGeneration", BART)
    for folder, prefix in ((tmp_path / "t5", ""), (tmp_path / "bart", "model.")):
        name, model = f"{prefix}shared.weight", zoo.from_pretrained(folder)
        expected = model(**GIVEN).logits
        table = load_file(folder / "model.safetensors")[name]
        for part in ("encoder", "decoder"):
            twin = {f"{prefix}{part}.embed_tokens.weight": table}
            rewrite(folder, lambda t, twin=twin: t | twin)
            np.testing.assert_array_equal(zoo.from_pretrained(folder)(**GIVEN).logits, expected)
        rewrite(folder, lambda t, name=name: {k: x for k, x in t.items() if k != name})
        np.testing.assert_array_equal(zoo.from_pretrained(folder)(**GIVEN).logits, expected)


def test_parts_load_from_the_whole(tmp_path):
    whole = saved(tmp_path, "BartForConditionalGeneration", BART)
    alone = zoo.from_pretrained(tmp_path, task="causal-lm")
    decoder = transformers.BartForCausalLM.from_pretrained(tmp_path).eval()
    decoder.set_input_embeddings(whole.model.shared)  # transformers draws a table at random
    decoder.lm_head.weight = whole.model.shared.weight
    expected = decoder(input_ids=torch.from_numpy(IDS)).logits.detach()
    assert error(alone(input_ids=IDS).logits, expected) < 1e-5
    classifier = zoo.from_pretrained(tmp_path, task="text-classification")
    assert classifier(input_ids=np.where(IDS == 1, 2, IDS)).logits.shape == (2, 3)
    assert whole.config.num_labels == 3


def test_what_an_encoder_returned_stands_in_for_the_source():
    model = zoo.from_config({**T5, "model_type": "t5"}, task="seq2seq-lm")
    whole = model(**GIVEN, output_hidden_states=True)
    rest = {k: x for k, x in GIVEN.items() if k != "input_ids"}
    encoded = model.forward.architecture.module.encode(
        model.config, model.params, input_ids=IDS, attention_mask=MASK, output_hidden_states=True
    )
    states = np.asarray(encoded.last_hidden_state)
    forms = [encoded, states, (states,), torch.from_numpy(states.copy())]
    forms.append(transformers.modeling_outputs.BaseModelOutput(torch.from_numpy(states.copy())))
    for form in forms:
        out = model(**rest, encoder_outputs=form)
        assert error(out.logits, whole.logits) < 1e-5
    kept = model(**rest, encoder_outputs=encoded)
    assert len(kept.encoder_hidden_states) == len(whole.encoder_hidden_states)
    made = model.generate(encoder_outputs=states, attention_mask=MASK, max_new_tokens=3)
    expected = model.generate(IDS, attention_mask=MASK, max_new_tokens=3)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("model_type", ["t5", "umt5", "bart"])
def test_stacked_layers_are_the_loop(model_type):
    config = {**FAMILIES[model_type].tiny, "model_type": model_type}
    loop, stacked = (
        zoo.from_config(config, task="seq2seq-lm", layers=form) for form in ("loop", "stacked")
    )
    expected = loop(**GIVEN).logits
    assert error(stacked(**GIVEN).logits, expected) < 1e-5
    first = {k: x[:, :2] if k == "decoder_input_ids" else x for k, x in GIVEN.items()}
    out = stacked(**first, cache=stacked.init_cache(2, 5, source=6))
    out = stacked(decoder_input_ids=TARGET[:, 2:], cache=out.cache)
    assert error(out.logits[:, 0], expected[:, 2]) < 1e-5
    assert out.encoder_last_hidden_state is None


def test_weights_begin_as_the_paper_draws_them():
    raw = {**T5_V1_1_SMALL, "vocab_size": 400, "num_layers": 2, "initializer_factor": 0.5}
    model = zoo.from_config(raw)
    stds = {
        s.name: float(np.std(x))
        for s, x in zip(spec.leaves(model.specs), jax.tree.leaves(model.params), strict=True)
    }
    layer = "decoder.block.0.layer"
    for name, std in {
        "shared.weight": 1.0,
        "lm_head.weight": 1.0,
        f"{layer}.0.SelfAttention.q.weight": (512 * 64) ** -0.5,
        f"{layer}.1.EncDecAttention.k.weight": 512**-0.5,
        f"{layer}.1.EncDecAttention.o.weight": 384**-0.5,
        f"{layer}.2.DenseReluDense.wi_0.weight": 512**-0.5,
        f"{layer}.2.DenseReluDense.wo.weight": 1024**-0.5,
    }.items():
        assert abs(stds[name] / (0.5 * std) - 1) < 0.03, name


def refused(task, match, kind=ValueError, model_type="t5", config=None, **given):
    tiny = {**FAMILIES[model_type].tiny, **(config or {}), "model_type": model_type}
    with pytest.raises(kind, match=match):
        zoo.from_config(tiny, task=task)(**given)


def test_what_cannot_be_meant_is_refused():
    lm, text, ids = "seq2seq-lm", "text-classification", {"input_ids": IDS}
    refused(lm, "found neither, expected decoder_input_ids or decoder_inputs_embeds", **ids)
    refused(lm, "expected input_ids or inputs_embeds or encoder_outputs", decoder_input_ids=TARGET)
    refused(lm, "found 1 rows for the decoder, expected 2", **ids, decoder_input_ids=TARGET[:1])
    refused(lm, "decoder_input_ids holds 100, expected 0 to 99", **ids,
            decoder_input_ids=TARGET + 96)  # fmt: skip
    refused(lm, "has width 5, expected hidden_size 16", decoder_input_ids=TARGET,
            encoder_outputs=np.ones((2, 4, 5), np.float32))  # fmt: skip
    refused(lm, r"attention_mask: has shape \(2, 4, 4\), expected \[batch, length\]", **ids,
            attention_mask=np.ones((2, 4, 4), int), decoder_input_ids=TARGET)  # fmt: skip
    refused(text, "input_ids: 1 rows without eos_token_id 1", input_ids=np.array([[1], [3]]))
    refused(text, "found 3 tokens of the decoder, expected the 4", **ids, decoder_input_ids=TARGET)
    refused(text, "found neither them nor decoder_start_token_id in the config", **ids,
            config={"decoder_start_token_id": None})  # fmt: skip
    refused("feature-extraction", "found neither them nor input_ids to make them of",
            ValueError, "bart", inputs_embeds=np.ones((2, 4, 32), np.float32))  # fmt: skip
    refused(lm, "41 tokens, expected at most max_position_embeddings 40", ValueError, "bart",
            input_ids=np.ones((1, 41), int))  # fmt: skip
    for config, match in {
        "glu-gelu": "feed_forward_proj: found 'glu-gelu', expected an activation such as",
        "gated-": "feed_forward_proj: found 'gated-', expected",
        "gated-tonh": "feed_forward_proj: activation 'tonh' is not known",
    }.items():
        refused(lm, match, config={"feed_forward_proj": config})
    refused(lm, "normalize_before: unknown key", ValueError, "bart", {"normalize_before": True})
    refused(lm, "32 is not a multiple of decoder_attention_heads 5", ValueError, "bart",
            {"decoder_attention_heads": 5})  # fmt: skip


def test_caches_that_cannot_serve_are_refused():
    model = zoo.from_config({**T5, "model_type": "t5"}, task="seq2seq-lm")
    with pytest.raises(ValueError, match="needs the length of the encoder's output"):
        model.init_cache(2, 5)
    small = model.init_cache(2, 5, source=3)
    with pytest.raises(ValueError, match=r"found room for 3 places .*, expected 4; make it with"):
        model(**GIVEN, cache=small)
    encoder = zoo.from_config({**T5, "model_type": "t5"}, task="token-classification")
    with pytest.raises(ValueError, match="T5ForTokenClassification does not generate and has no"):
        encoder.init_cache(2, 5)
    alone = zoo.from_config({**BART, "model_type": "bart"}, task="causal-lm")
    with pytest.raises(ValueError, match="a cache of BartForCausalLM has no encoder"):
        alone.init_cache(2, 5, source=3)


def test_outputs_have_the_fields_of_transformers():
    for name in ("Seq2SeqModelOutput", "Seq2SeqLMOutput"):
        theirs = set(getattr(transformers.modeling_outputs, name).__dataclass_fields__)
        ours = set(getattr(outputs, name).__dataclass_fields__) - {"cache"}
        assert ours <= theirs
