"""All families, found by looking at the files beside this one."""

import importlib
import pkgutil

from matrix_rows import Family

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for module in pkgutil.iter_modules(__path__)
    for family in importlib.import_module(f"{__name__}.{module.name}").FAMILIES
}
ROWS = tuple(row for family in FAMILIES.values() for row in family.rows)
BY_ID = {row.id: row for row in ROWS}
