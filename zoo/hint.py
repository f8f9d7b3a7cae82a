"""Where an activation should live: said by the model, decided by `sharding`."""

import contextlib
import contextvars
from collections.abc import Callable, Hashable, Iterator
from typing import Protocol, runtime_checkable

import jax


@runtime_checkable
class Placement(Hashable, Protocol):
    """A hashable rule that constrains an activation by its logical axes."""

    def __call__(self, x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        """Returns `x`, constrained."""
        ...


_placement: contextvars.ContextVar[Placement | None] = contextvars.ContextVar(
    "placement", default=None
)


def hint(x: jax.Array, *axes: str | None) -> jax.Array:
    """Names the logical axes of `x`. Does nothing unless a `placing` context is active."""
    placement = _placement.get()
    return x if placement is None else placement(x, axes)


def current() -> Placement | None:
    """The active placement. Whatever caches traces must key them on it."""
    return _placement.get()


@contextlib.contextmanager
def placing(placement: Placement | None) -> Iterator[None]:
    """Hints inside the `with` block are decided by `placement`."""
    token = _placement.set(placement)
    try:
        yield
    finally:
        _placement.reset(token)


def bind(fn: Callable, placement: Placement | None) -> Callable:
    """`fn` with its hints decided by `placement`, wherever and whenever it is traced."""

    def bound(*args, **kwargs):
        with placing(placement):
            return fn(*args, **kwargs)

    return bound
