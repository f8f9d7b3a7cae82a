"""What importing the packages costs and touches, and what the wheel holds."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("zoo", "bridges", "sharding")
FRAMEWORKS = {"torch", "tensorflow", "transformers"}
ON_DEMAND = {"flax", "optax", "orbax", "tokenizers", "huggingface_hub"}
EXTRAS = {"torch", "tensorflow", "gpu", "tpu", "audio", "notebooks", "dev"}

LOOK = """
import json, os, sys, warnings
import jax
from jax._src import xla_bridge
environment, filters = dict(os.environ), list(warnings.filters)
settings = dict(jax.config.values)
{load}
print(json.dumps({{
    "modules": sorted({{name.partition(".")[0] for name in sys.modules}}),
    "environment": sorted(set(os.environ.items()) ^ set(environment.items())),
    "backends": xla_bridge.backends_are_initialized(),
    "settings": sorted(k for k, v in jax.config.values.items() if settings.get(k, v) != v),
    "filters": warnings.filters != filters,
}}))
"""
EVERY_MODULE = """
import importlib, pkgutil
for package in ("zoo", "bridges", "sharding"):
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def look(load):
    """Run `load` in a new interpreter, warnings being errors; what it changed there."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_", "HF_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOOK.format(load=load)],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def assert_untouched(seen):
    assert not FRAMEWORKS & set(seen["modules"])
    assert seen["environment"] == []
    assert seen["backends"] is False
    assert seen["settings"] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_import_touches_nothing(package):
    seen = look(f"import {package}")
    assert_untouched(seen)
    assert seen["filters"] is False
    assert not ON_DEMAND & set(seen["modules"])


def test_no_module_imports_a_framework():
    assert_untouched(look(EVERY_MODULE))


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_resolve(package):
    module = __import__(package)
    exported = getattr(module, "__all__", ())
    assert len(set(exported)) == len(exported)
    assert set(exported) <= set(dir(module))
    for name in exported:
        getattr(module, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_extras_are_the_documented_ones():
    assert set(metadata("jax-zoo").get_all("Provides-Extra") or ()) == EXTRAS


def test_wheel_holds_the_three_packages(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in files}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {*PACKAGES, info}
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(files)
    assert f"{info}/licenses/LICENSE" in files
    sources = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert sources == {name for name in files if name.endswith(".py")}
    assert zipfile.ZipFile(wheel).read(f"{info}/entry_points.txt") == (
        b"[console_scripts]\nzoo = zoo.cli:main\n"
    )
