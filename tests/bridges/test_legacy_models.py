"""Models loaded from old files alone are the models of the safetensors beside them."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import zoo

FIXTURES = Path(__file__).parents[1] / "fixtures" / "legacy"
SUPPORTED = ("bert", "gpt2", "llama", "mistral", "vit")
CASES = sorted(
    (folder.name, stem)
    for stem in ("flax_model", "tf_model")
    for folder in FIXTURES.iterdir()
    if folder.name.split("-")[0] in SUPPORTED and any(folder.glob(f"{stem}*"))
)


@pytest.mark.parametrize(("case", "stem"), CASES, ids="-".join)
def test_parameters_are_the_same(case, stem, tmp_path):
    for path in [FIXTURES / case / "config.json", *(FIXTURES / case).glob(f"{stem}*")]:
        shutil.copy(path, tmp_path)
    old, new = zoo.from_pretrained(tmp_path), zoo.from_pretrained(FIXTURES / case)
    assert jax.tree.structure(old.params) == jax.tree.structure(new.params)
    for x, y in zip(jax.tree.leaves(old.params), jax.tree.leaves(new.params), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
