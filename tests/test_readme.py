"""README.md: every block of code runs, and what it shows is what comes out.

`python tests/test_readme.py` writes the table of what is supported, and what the blocks of Python
print, into README.md.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from zoo import registry
from zoo.tasks import NAMES

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = re.compile(r"(^```python\n(.*?)^```\n\n^```text\n)(.*?)(^```$)", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"(<!-- matrix:.*?-->\n\n)(.*?)(\n?<!-- /matrix -->)", re.DOTALL)
REFRESH = "README.md is stale; run `python tests/test_readme.py`"

# Runs blocks of Python one after the other in one namespace, then commands; tells what each said.
RUN = """
import contextlib, io, json, sys
blocks, commands = json.load(sys.stdin)
space, printed, codes = {"__name__": "__main__"}, [], []
for block in blocks:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        exec(compile(block, "README.md", "exec"), space)
    printed.append(text.getvalue())
from zoo.cli import app
for command in commands:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        codes.append((app.main(command), text.getvalue()))
print(json.dumps([printed, codes]))
"""


def matrix() -> str:
    """The table of model types and tasks, in Markdown."""
    rows = ["| model_type | tasks |", "| --- | --- |"]
    for name in sorted(registry.MODULES):
        has = {task.name for task in registry.architecture(name).tasks.values()}
        rows.append(f"| `{name}` | {', '.join(task for task in NAMES if task in has)} |")
    return "\n".join(rows) + "\n"


def blocks(kind: str, text: str | None = None) -> list[str]:
    """Fenced blocks of one kind."""
    text = README.read_text(encoding="utf-8") if text is None else text
    return [body for found, body in BLOCK.findall(text) if found == kind]


def lines() -> list[list[str]]:
    """Every command of the blocks of shell, split, without comments."""
    every = [line for body in blocks("sh") for line in body.splitlines()]
    return [words for words in (shlex.split(line, comments=True) for line in every) if words]


def execute(python: list[str], commands: list[list[str]], folder: Path) -> list:
    """Runs blocks and `zoo` commands in `folder`, offline, as on a machine with eight devices."""
    offline = ROOT / "notebooks" / "offline.py"
    made = [sys.executable, str(offline), str(folder / "hub")]
    cache = subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()
    env = os.environ | {
        "HF_HUB_CACHE": cache,
        "HF_HUB_OFFLINE": "1",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([python, commands]),
        capture_output=True,
        encoding="utf-8",
        cwd=work,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    commands = [words[1:] for words in lines() if words[0] == "zoo"]
    return folder / "work", *execute(blocks("python"), commands, folder)


def test_python_prints_what_is_shown(ran):
    _, printed, _ = ran
    text = README.read_text(encoding="utf-8")
    shown = {python: output for _, python, output, _ in SHOWN.findall(text)}
    assert shown
    for python, output in zip(blocks("python"), printed, strict=True):
        assert output == shown.get(python, ""), REFRESH


def test_readme_saves_a_model_that_transformers_loads(ran):
    import transformers

    folder, _, _ = ran
    _, told = transformers.AutoModel.from_pretrained(
        folder / "all-MiniLM-L6-v2", output_loading_info=True
    )
    assert not any(told.values()), told


def test_commands_succeed_and_say_something(ran):
    _, _, codes = ran
    assert codes
    for code, said in codes:
        assert code == 0
        assert said.strip()


def test_other_commands_name_what_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in lines():
        match words:
            case ["zoo", *_]:
                pass
            case ["make", target]:
                assert target in targets
            case ["pip", "install", what]:
                extra = re.fullmatch(r"\.(?:\[(\w+)\])?", what)
                assert extra, what
                assert extra[1] is None or extra[1] in project["optional-dependencies"]
            case _:
                pytest.fail(f"README.md: nothing checks {shlex.join(words)!r}")


def test_table_is_that_of_the_registry():
    (_, shown, _) = TABLE.search(README.read_text(encoding="utf-8")).groups()
    assert shown == matrix(), REFRESH


def test_links_lead_somewhere():
    text = BLOCK.sub("", README.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def refresh() -> None:
    """Writes what is generated into README.md."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        printed = iter(execute(blocks("python", text), [], Path(folder))[0])
    out = dict(zip(blocks("python", text), printed, strict=True))
    text = SHOWN.sub(lambda m: m[1] + out[m[2]] + m[4], text)
    text = TABLE.sub(lambda m: f"{m[1]}{matrix()}\n<!-- /matrix -->", text)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    refresh()
