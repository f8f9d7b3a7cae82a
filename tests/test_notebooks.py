"""The notebooks run from beginning to end, and show what comes out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import nbformat
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d*)?(?:e[-+]\d+)?")
LARGEST = 200_000  # bytes

# In a process of its own: its warnings are not ours, and neither is its event loop.
RUN = """
import sys, nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
manager = AsyncKernelManager(kernel_name="python3", transport="ipc")
options = {"timeout": None, "coalesce_streams": True}
NotebookClient(notebook, km=manager, **options).execute()
nbformat.write(notebook, sys.argv[2])
"""


def outputs(cell) -> str:
    """What a cell says, without warnings."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif output.output_type in ("execute_result", "display_data"):
            parts.append(output.data.get("text/plain", ""))
    return "\n".join(parts)


def words(text: str) -> str:
    """All but the numbers, and the spaces that align them."""
    return re.sub(r"\s+", "", NUMBER.sub("#", text))


def numbers(text: str) -> list[float]:
    return [float(x.replace(",", "")) for x in NUMBER.findall(text)]


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def pair(request, tmp_path_factory):
    """A notebook as it is stored, and as it comes out when it runs now."""
    folder = tmp_path_factory.mktemp("notebook")
    made = [sys.executable, str(FOLDER / "offline.py"), str(folder / "hub")]
    cache = subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
        "HF_HUB_CACHE": cache,
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYTHONPATH": str(FOLDER.parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(request.param), "executed.ipynb"],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    stored = nbformat.read(request.param, as_version=4)
    return stored, nbformat.read(folder / "executed.ipynb", as_version=4)


def test_notebooks_show_what_comes_out(pair):
    for stored, now in zip(*(notebook.cells for notebook in pair), strict=True):
        if stored.cell_type != "code":
            continue
        shown, found = outputs(stored), outputs(now)
        assert words(shown) == words(found), stored.source
        assert numbers(shown) == pytest.approx(numbers(found), rel=0.05, abs=0.03), stored.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_tidily(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < LARGEST
    nbformat.validate(json.loads(text))
    code = [cell for cell in nbformat.reads(text, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(cell.metadata for cell in code)
    shown = [output for cell in code for output in cell.outputs]
    assert not [o for o in shown if o.output_type == "error" or o.get("name") == "stderr"]


def test_there_is_a_notebook():
    assert "quickstart" in [path.stem for path in NOTEBOOKS]
