"""One place for what every test runs under: eight CPU devices, strict arithmetic, no network."""

import gc
import itertools
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

os.environ["XLA_FLAGS"] = " ".join(
    (os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8")
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

PATIENT = hypothesis.settings(
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
    database=None,
)
hypothesis.settings.register_profile("default", PATIENT, derandomize=True, max_examples=50)
hypothesis.settings.register_profile("long", PATIENT, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# Every compiled program takes several of the 65,530 mappings that Linux gives a process.
MAPPINGS, MOST, EVERY = Path("/proc/self/maps"), 25_000, 16
_tests = itertools.count(1)


@pytest.fixture(autouse=True)
def _bounded_mappings():
    """Compiled programs are dropped when there are too many of them."""
    yield
    if next(_tests) % EVERY == 0 and MAPPINGS.exists():
        if MAPPINGS.read_bytes().count(b"\n") > MOST:
            jax.clear_caches()
            gc.collect()


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory():
    """Compiled programs of one file are dropped before the next one starts."""
    yield
    jax.clear_caches()
