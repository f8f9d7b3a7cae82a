"""Many layers from one definition: a tuple of trees, or scanned stacks of equal layers.

The tuple is what a checkpoint holds, what decoding wants and what emission traces; the stack
compiles in the same time at any depth. `loop` and `stacked` build the declarations of either,
`run` applies either.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from zoo import spec
from zoo.layers.cache import Cache
from zoo.layers.dropout import fold
from zoo.outputs import BaseOutput
from zoo.spec import Tree


class Run(NamedTuple):
    """`repeats` copies of the kinds in `period`, beginning at layer `first`."""

    first: int
    period: tuple[str, ...]
    repeats: int

    def numbers(self, i: int) -> range:
        """Layer numbers of the i-th kind of the period."""
        return range(self.first + i, self.first + len(self.period) * self.repeats, len(self.period))


def plan(kinds: Sequence[str]) -> tuple[Run, ...]:
    """Cuts a list of layer kinds into repeating runs, the longest first.

    >>> plan(["full"] * 4)
    (Run(first=0, period=('full',), repeats=4),)
    >>> plan(["dense", "moe", "moe"])
    (Run(first=0, period=('dense',), repeats=1), Run(first=1, period=('moe',), repeats=2))
    """
    runs, i = [], 0
    while i < len(kinds):
        best = Run(i, (kinds[i],), 1)
        for size in range(1, 1 + (len(kinds) - i) // 2):
            period = tuple(kinds[i : i + size])
            repeats = next(
                r
                for r in itertools.count(1)
                if tuple(kinds[i + r * size : i + (r + 1) * size]) != period
            )
            if repeats > 1 and repeats * size > best.repeats * len(best.period):
                best = Run(i, period, repeats)
        runs.append(best)
        i += len(best.period) * best.repeats
    return tuple(runs)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stacked:
    """Layers as runs, each a tuple over its period of trees with a leading layer dimension."""

    runs: tuple[tuple[Tree, ...], ...]


@runtime_checkable
class Build(Protocol):
    """`loop` or `stacked`."""

    def __call__(self, kinds: Sequence[str], of: Callable[[str], Tree]) -> Tree:
        """Declarations of all layers; names of `of(kind)` hold one `{}` for the layer number."""
        ...


def loop(kinds: Sequence[str], of: Callable[[str], Tree]) -> Tree:
    """One tree per layer, in a tuple."""

    def numbered(i: int, kind: str) -> Tree:
        return spec.tree_map(
            lambda s: dataclasses.replace(s, name=s.name.replace("{}", str(i), 1)), of(kind)
        )

    return tuple(numbered(i, kind) for i, kind in enumerate(kinds))


def stacked(kinds: Sequence[str], of: Callable[[str], Tree]) -> Tree:
    """Runs of equal layers (also periodic ones), stacked."""
    return Stacked(
        tuple(
            tuple(spec.stack(run.numbers(i), of(kind)) for i, kind in enumerate(run.period))
            for run in plan(kinds)
        )
    )


def each(fn: Callable[[Tree], Tree], layers: Tree) -> Tree:
    """What `fn` makes of the parameters of each layer, in the form of the layers."""
    if isinstance(layers, Stacked):
        return Stacked(tuple(tuple(jax.vmap(fn)(p) for p in run) for run in layers.runs))
    return tuple(fn(p) for p in layers)


def paired(layers: Tree, others: Tree) -> Tree:
    """Layers whose parameters are pairs: those of a layer, and what `others` has for it."""
    if isinstance(layers, Stacked):
        runs = zip(layers.runs, others.runs, strict=True)
        return Stacked(tuple(tuple(zip(*run, strict=True)) for run in runs))
    return tuple(zip(layers, others, strict=True))


@runtime_checkable
class Step(Protocol):
    """One layer: x in, x out, with its kind, parameters, cache, number and dropout key."""

    def __call__(
        self, kind: str, p: Tree, x: jax.Array, cache: Tree | None, i: Any, key: jax.Array | None
    ) -> tuple[jax.Array, Tree | None]:
        """Applies the layer."""
        ...


def run(
    step: Step,
    kinds: Sequence[str],
    layers: Tree,
    x: jax.Array,
    *,
    cache: Tree | None = None,
    key: jax.Array | None = None,
    collect: bool = False,
) -> tuple[jax.Array, Tree | None, tuple[jax.Array, ...] | None]:
    """Applies layer after layer.

    Returns:
      x after the last layer; the new cache, in the form of the old; with `collect`, the inputs of
      every layer in order.
    """
    if isinstance(layers, Stacked):
        return _scan(step, kinds, layers, x, cache, key, collect)
    inputs, caches = [], []
    for i, (kind, p) in enumerate(zip(kinds, layers, strict=True)):
        inputs.append(x)
        x, new = step(kind, p, x, cache and cache[i], i, fold(key, i))
        caches.append(new)
    return x, tuple(caches) if cache else None, tuple(inputs) if collect else None


def body(
    step: Step,
    kinds: Sequence[str],
    layers: Tree,
    x: jax.Array,
    *,
    last: Callable[[jax.Array], jax.Array],
    cache: Cache | None,
    key: jax.Array | None,
    collect: bool,
) -> BaseOutput:
    """Applies all layers of a decoder and what comes after them; `cache` as `place` returned it.

    With `collect` the inner states are the inputs of the layers and the output.
    """
    x, kept, inner = run(
        step, kinds, layers, x, cache=cache and cache.layers, key=key, collect=collect
    )
    x = last(x)
    return BaseOutput(
        last_hidden_state=x,
        cache=cache and dataclasses.replace(cache, layers=kept),
        hidden_states=None if inner is None else (*inner, x),
    )


def _scan(step, kinds, layers, x, cache, key, collect):
    inputs, caches = [], []
    for n, (r, p) in enumerate(zip(plan(kinds), layers.runs, strict=True)):

        def body(x, item, r=r):
            p, cache, first = item
            seen, new = [], []
            for j, kind in enumerate(r.period):
                i = first + j
                seen.append(x)
                x, one = step(kind, p[j], x, cache and cache[j], i, fold(key, i))
                new.append(one)
            return x, (tuple(new), tuple(seen) if collect else ())

        firsts = jax.numpy.arange(r.repeats) * len(r.period) + r.first
        items = (p, cache and cache.runs[n], firsts)
        if r.repeats == 1:  # not a loop, so that the layer may change the shape of x
            x, rest = body(x, jax.tree.map(lambda leaf: leaf[0], items))
            new, seen = jax.tree.map(lambda leaf: leaf[None], rest)
        else:
            x, (new, seen) = jax.lax.scan(body, x, items)
        caches.append(new)
        if collect:
            inputs += [seen[j][k] for k in range(r.repeats) for j in range(len(r.period))]
    return x, Stacked(tuple(caches)) if cache else None, tuple(inputs) if collect else None
