"""Which maps of features a backbone gives, by the two spellings of `config.json`."""

from collections.abc import Sequence


def chosen(
    names: Sequence[str], out_features: Sequence[str] | None, out_indices: Sequence[int] | None
) -> tuple[int, ...]:
    """Indices among the stages `names`; the last alone where the config says nothing.

    Raises:
      ValueError: a stage that is not there, twice or out of order, or spellings that differ.
    """
    count = len(names)
    if out_features is not None:
        if unknown := [name for name in out_features if name not in names]:
            raise ValueError(f"out_features: found {unknown[0]!r}, expected of {', '.join(names)}")
        found = tuple(names.index(name) for name in out_features)
        if out_indices is not None and found != tuple(i % count for i in out_indices):
            raise ValueError(
                f"out_features and out_indices: found {list(out_features)} and "
                f"{list(out_indices)}, which differ; set one to null"
            )
    elif out_indices is not None:
        if outside := [i for i in out_indices if not -count <= i < count]:
            raise ValueError(f"out_indices: found {outside[0]}, expected below {count}")
        found = tuple(i % count for i in out_indices)
    else:
        found = (count - 1,)
    if not found or list(found) != sorted(set(found)):
        raise ValueError(
            f"out_features: found {[names[i] for i in found]}, expected some of the stages, each "
            f"once and in their order"
        )
    return found
