"""Who may attend to whom: one description for padding, causality, windows and packing.

Letters: B batch, T queries, S keys.
"""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask:
    """Conditions that must all hold for a query to see a key. What is None is no condition.

    Attributes:
      valid: bool [B, S], keys that are not padding; or [B, T, S], any pattern.
      queries: int [1 or B, T], where each query stands in the sequence.
      keys: int [1 or B, S], where each key stands.
      query_segments: int [B, T], the document of each query, of several packed into one row.
      key_segments: int [B, S].
      prefix: int [B], causal, but for the prefix of this length that all may see.
      causal: no query sees a later key.
      window: no query sees a key at a distance of `window` or more.
    """

    valid: jax.Array | None = None
    queries: jax.Array | None = None
    keys: jax.Array | None = None
    query_segments: jax.Array | None = None
    key_segments: jax.Array | None = None
    prefix: jax.Array | None = None
    causal: bool = False
    window: int | None = None

    def array(self) -> jax.Array | None:
        """The conditions as bool [1 or B, 1, T or 1, S], or None where there are none."""
        terms = []
        if self.valid is not None:
            valid = self.valid.astype(bool)
            terms.append(valid[:, None, None, :] if valid.ndim == 2 else valid[:, None, :, :])
        if self.causal or self.window is not None:
            if self.queries is None or self.keys is None:
                raise ValueError("Mask: causal and window need the positions of queries and keys")
            gap = self.queries[:, :, None] - self.keys[:, None, :]
            if self.prefix is not None:
                inside = self.keys[:, None, :] < self.prefix[:, None, None]
                terms.append(((gap >= 0) | inside)[:, None])
            elif self.causal:
                terms.append((gap >= 0)[:, None])
            if self.window is not None:
                terms.append((jnp.abs(gap) < self.window)[:, None])
        if self.query_segments is not None and self.key_segments is not None:
            same = self.query_segments[:, :, None] == self.key_segments[:, None, :]
            terms.append(same[:, None])
        if not terms:
            return None
        shape = jnp.broadcast_shapes(*(t.shape for t in terms))
        both = jnp.broadcast_to(terms[0], shape)
        for term in terms[1:]:
            both &= jnp.broadcast_to(term, shape)
        return both
