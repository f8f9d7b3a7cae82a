"""BERT with relative positions against stored outputs of transformers 4.57.1.

`fixtures/relative/make.py` made them: transformers 5 reads such files as if they were absolute.
"""

from pathlib import Path

import matrix_case as cases
import numpy as np
import pytest
from matrix_case import error
from safetensors.numpy import load_file

import zoo

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "relative"
NAMES = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.mark.parametrize("name", NAMES)
def test_outputs(name: str):
    stored = load_file(FIXTURES / name / "expected.safetensors")
    model = zoo.from_pretrained(FIXTURES / name)
    out = model(**{k: stored[k] for k in INPUTS}, output_hidden_states=True)
    for field, x in cases.fields(out).items():
        assert error(x, stored[f"expected.{field}"]) <= 1e-5, field
    for i, x in enumerate(out.hidden_states):
        assert error(x, stored[f"expected.hidden_states.{i}"]) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_saved_files_are_those_that_were_loaded(name: str, tmp_path: Path):
    saved = zoo.from_pretrained(FIXTURES / name).save_pretrained(tmp_path / "saved")
    ours, theirs = cases.stored(saved), cases.stored(FIXTURES / name)
    assert ours.keys() == theirs.keys()
    assert all(cases.same(ours[k], x) for k, x in theirs.items())


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("decoder")])
def test_a_cache_filled_in_steps_is_the_whole_text(name: str):
    stored = load_file(FIXTURES / name / "expected.safetensors")
    model = zoo.from_pretrained(FIXTURES / name)
    given = {k: stored[k] for k in ("input_ids", "token_type_ids")}
    whole = model(**given).logits
    out = model(**{k: x[:, :8] for k, x in given.items()}, cache=model.init_cache(3, 16))
    pieces = [out.logits]
    for t in range(8, whole.shape[1]):
        out = model(**{k: x[:, t : t + 1] for k, x in given.items()}, cache=out.cache)
        pieces.append(out.logits)
    assert error(np.concatenate(pieces, axis=1), whole) <= 1e-5
