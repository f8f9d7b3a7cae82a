"""What an import costs, in processes of their own."""

import subprocess
import sys
from collections.abc import Callable, Iterator

from table import Row, duration
from timing import interleave

EXTRA = 0.3  # seconds beyond `import jax`
CASES = {
    "import zoo": "import jax, zoo",
    "import zoo, up to from_pretrained": "import jax, zoo; zoo.from_pretrained",
}


def rows(chosen: Callable[[str], bool], rounds: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """One row per way of importing."""
    for name, code in CASES.items():
        if chosen(name):
            yield name, lambda name=name, code=code: measure(name, code, rounds)


def measure(name: str, code: str, rounds: int) -> Row:
    """Seconds that our import adds to that of jax."""
    calls = {"zoo": lambda: python(code), "jax": lambda: python("import jax")}
    times = interleave(calls, rounds=rounds)
    mine, jax = times["zoo"], times["jax"]
    return Row(
        f"{name}: seconds beyond jax",
        duration(mine.least),
        f"{duration(jax.least)} jax",
        mine.least - jax.least,
        mine.median - jax.median,
        sense="<=",
        target=EXTRA,
    )


def python(code: str) -> None:
    """Runs code in a new interpreter."""
    subprocess.run([sys.executable, "-c", code], check=True)
