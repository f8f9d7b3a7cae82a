"""What a processor returns: a dict of arrays, whose entries are attributes too."""

from __future__ import annotations

from typing import Any


class Features(dict[str, Any]):
    """A dict from a model's input names to arrays; `features.pixel_values` reads an entry.

    Pass it on as `model(**features)`.
    """

    def __getattr__(self, name: str) -> Any:
        """Read an entry as an attribute.

        Raises:
            AttributeError: there is no entry of that name.
        """
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"features.{name}: no such entry; expected one of {', '.join(self)}"
            ) from None


def tensors(rows: Any, kind: str | None) -> Any:
    """Give a numpy array as the kind that `return_tensors` names.

    Args:
        rows: array [B, ...].
        kind: "jax" or "np" for one array, None for a list of B numpy arrays.

    Raises:
        ValueError: another kind.
    """
    if kind in ("jax", "jx"):
        import jax.numpy as jnp

        return jnp.asarray(rows)
    if kind == "np":
        return rows
    if kind is None:
        return list(rows)
    raise ValueError(
        f"return_tensors: found {kind!r}, expected 'jax', 'np' or None; "
        "for another framework take 'np' and convert that"
    )
