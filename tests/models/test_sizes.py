"""Published models have as many parameters as published, told from their configs alone."""

import pytest
from families import FAMILIES

from bridges import config as configs
from zoo import registry, spec

PUBLISHED = {
    name: (model_type, *rest)
    for model_type, family in FAMILIES.items()
    for name, rest in family.published.items()
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_a_published_size(name: str):
    model_type, class_name, count, raw = PUBLISHED[name]
    arch = registry.architecture(model_type)
    specs = arch.tasks[class_name].specs(configs.parse(arch, raw))
    assert spec.count(specs) == count


def test_every_architecture_has_a_published_size():
    assert {model_type for model_type, *_ in PUBLISHED.values()} == registry.MODULES.keys()
