"""Which tensor of a file is which parameter of a model, heads and tied embeddings included."""

import dataclasses
import logging
from collections.abc import Mapping

import numpy as np

from bridges import checkpoint
from zoo import spec
from zoo.forward import Forward

log = logging.getLogger("zoo")


def resolve(
    forward: Forward, source: checkpoint.Source, where: str
) -> tuple[Forward, checkpoint.Names]:
    """Matches names, and settles whether the embeddings are tied after all.

    Raises:
      KeyError: tensors are missing, or in the file that no class knows.
      ValueError: tensors of another shape or dtype than declared.
    """
    here = checkpoint.spelled(source.names, forward.task.renamed)
    forward, borrowed = _settle_ties(forward, source, here, where)
    task, declared = forward.task, _names(forward)
    lent = set(borrowed.values())
    names = checkpoint.resolve(
        declared - borrowed.keys(),
        [at for name, at in here.items() if name in declared or at not in lent],
        prefix=task.prefix,
        prefixes={other.prefix for other in forward.architecture.tasks.values()},
        known=lambda: _optional(forward),
        ignored=_ignored(forward),
        renamed=task.renamed,
        same=getattr(forward.architecture.module, "SAME", ()),
        where=where,
    )
    names = names._replace(found={**names.found, **borrowed})
    checkpoint.check(task.specs(forward.config), source, names.found, where=where)
    return forward, names


def _settle_ties(
    forward: Forward, source: checkpoint.Source, here: Mapping[str, str], where: str
) -> tuple[Forward, dict[str, str]]:
    """Looks at files that store tied weights twice, or only under the other name.

    `here` are the names of the file by today's spelling.

    As in transformers 5, weights that differ are not tied, whatever the config says; what else
    was tied then begins as a copy.

    Returns:
      the forward, perhaps untied, and declared names -> the other name that the file has.
    """
    if not getattr(forward.config, "tie_word_embeddings", False):
        return forward, {}
    twins = [(alias, home) for alias, home in forward.task.tied.items() if alias in here]
    for alias, home in twins:
        if home in here and not _equal(source, here[alias], here[home]):
            log.warning(
                "%s: %s and %s differ, so they are not tied although config.json says so",
                where, alias, home,
            )  # fmt: skip
            untied = dataclasses.replace(forward.config, tie_word_embeddings=False)
            pairs = forward.task.tied.items()
            absent = {a: here[h] for a, h in pairs if a not in here and h in here}
            return forward._replace(config=untied), absent
    return forward, {home: here[alias] for alias, home in twins if home not in here}


def _names(forward: Forward) -> set[str]:
    """Every declared name."""
    specs = forward.task.specs(forward.config)
    return {name for s in spec.leaves(specs) for name in s.names}


def _optional(forward: Forward) -> set[str]:
    """Names, without prefix, that some classes declare but not all: heads, poolers, copies."""
    variants = [forward.config]
    if hasattr(forward.config, "tie_word_embeddings"):
        tied = forward.config.tie_word_embeddings
        variants.append(dataclasses.replace(forward.config, tie_word_embeddings=not tied))
    stems = []
    for config in variants:
        for class_name, task in forward.architecture.tasks.items():
            names = _names(forward._replace(config=config, class_name=class_name))
            names = checkpoint.spelled(names, forward.task.renamed)
            stems.append({_stem(name, task.prefix) for name in names})
    return set.union(*stems) - set.intersection(*stems)


def _ignored(forward: Forward) -> tuple[str, ...]:
    """Patterns of tensors that files carry and no class has; they may depend on the config."""
    module = forward.architecture.module
    if own := getattr(module, "ignored", None):
        return own(forward.config)
    return getattr(module, "IGNORED", ())


def _stem(name: str, prefix: str) -> str:
    return name[len(prefix) + 1 :] if prefix and name.startswith(f"{prefix}.") else name


def _equal(source: checkpoint.Source, a: str, b: str) -> bool:
    if source.names[a].shape != source.names[b].shape:
        return False
    return bool(np.array_equal(source.read(a), source.read(b)))
