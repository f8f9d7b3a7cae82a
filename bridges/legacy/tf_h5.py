"""`tf_model.h5`: the variables of a TensorFlow class.

Keras writes one group for each layer that the attribute `layer_names` lists; the group's
`weight_names` are the paths of its datasets below it. A shard holds datasets without layers: its
`layer_names` are the variables' names, most of them without the class's scope, which the index
keeps. Both attributes are split into `layer_names0`, `layer_names1`, ... when they are long. A
variable that two layers share is stored with each of them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridges.header import show
from bridges.legacy.checkpoint import Format
from bridges.legacy.hdf5 import Hdf5File
from bridges.legacy.rules import from_tensorflow
from bridges.legacy.stored import Stored

MAX_VARIABLES = 100_000


def scan(path: Path, file: Any, size: int, expected: list[str] | None) -> Mapping[str, Stored]:
    """Return the variables of a file under the names that TensorFlow gave them.

    Raises:
        CheckpointError: it is not an HDF5 file of Keras, or its data lie elsewhere.
    """
    root = Hdf5File(path, file, size)
    found: dict[str, Stored] = {}
    for i, (name, address) in enumerate(_variables(root, expected)):
        if i == MAX_VARIABLES:
            root.refuse(f"lists more than {MAX_VARIABLES} variables")
        tensor = root.dataset(address, name)
        if found.setdefault(name, tensor).info != tensor.info:
            root.refuse(f"{show(name)} is stored twice, as {found[name].info} and {tensor.info}")
    return found


def _variables(file: Hdf5File, expected: list[str] | None) -> Iterator[tuple[str, int]]:
    full = {_in_shard(name): name for name in expected or ()}
    for layer in _names(file, file.root, "layer_names"):
        address = file.find(file.root, layer.split("/"))
        if expected is not None:
            yield full.get(layer, layer), address
            continue
        for name in _names(file, address, "weight_names"):
            yield name, file.find(address, name.split("/"))


def _in_shard(name: str) -> str:
    return name if "model." in name else name.partition("/")[2] or name


def _names(file: Hdf5File, address: int, key: str) -> list[str]:
    texts = file.texts(address)
    if key in texts:
        return texts[key]
    names: list[str] = []
    part = 0
    while f"{key}{part}" in texts:
        names += texts[f"{key}{part}"]
        part += 1
    if not part:
        file.refuse(f"the object at {address} has no {key}, expected what Keras writes")
    return names


FORMAT = Format("tf_model.h5", scan, from_tensorflow, None)
