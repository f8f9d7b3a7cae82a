"""Rows of the matrix: one per architecture class and config variant, each tiny.

Sizes differ from each other wherever they can, so that a wrong axis does not go unseen; those
that a mesh splits divide by four. Every file of `families` holds what tests know of one
architecture, or of siblings: its rows, its published sizes, and where each field of its Config
shows.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

BATCH, LENGTH = 4, 13
MARGINS = ((0, 0), (4, 0), (0, 5), (3, 2))  # padding to the left and right of each row
TEXT = ("input_ids", "attention_mask")
PIXELS = ("pixel_values",)
PADDED = {"pad_token_id": 0}
UNTIED = {"tie_word_embeddings": False}
TIED = {"tie_word_embeddings": True}
SHIFT = "a shift of all scores of one query: softmax does not see it"
EMBEDDED = "the inputs are embedded already"


def mask() -> np.ndarray:
    """1 for tokens, 0 for the padding of MARGINS."""
    at = np.arange(LENGTH)
    return np.stack([(at >= left) & (at < LENGTH - right) for left, right in MARGINS]).astype(int)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One model that transformers and the zoo both know.

    Attributes:
      id: shown by pytest.
      model_type: the architecture.
      class_name: the Hub class.
      config: keys of the config.
      inputs: names of the inputs that are given; `name:variant` is the input `name` made as the
        maker `name:variant` makes it.
      flags: inputs that are the same for all.
      as_written: the file is `config` itself, not what transformers writes, to read old spellings.
      main: every property is tested; for other rows what they concern, and gradients and
        generation only by `make test-long`.
      causal: no output depends on a later token.
      decodes: cached decoding is tested.
      generates: what transformers generates can be compared with.
      grows: the rotation depends on the length of the text, so that a cache, whose keys keep
        theirs, is not the whole text run again; transformers has the same.
      mesh: devices of the sharded run; None where the number of key heads tells.
      dead: parts of names of tensors without a gradient, and why.
    """

    id: str
    model_type: str
    class_name: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...] = TEXT
    flags: tuple[tuple[str, Any], ...] = ()
    as_written: bool = False
    main: bool = False
    causal: bool = False
    decodes: bool = False
    generates: bool = True
    grows: bool = False
    mesh: str | None = None
    dead: Mapping[str, str] = dataclasses.field(default_factory=dict)


Maker = Callable[[np.random.Generator, Row], np.ndarray]
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """What tests know of one architecture.

    Attributes:
      model_type: its name in `config.json`.
      rows: its rows; every class of it has one with `main`.
      tiny: keys of a small config.
      makers: inputs that only this architecture takes, or makes otherwise than `matrix_case`.
      published: name of a published model -> class, number of parameters, keys of its config.
      base: id of the row on which a changed field of the Config shows.
      shows: field -> id of the row on which it shows instead.
      values: field -> another value than those of `test_config_fields`.
      refused: fields whose other value does not fit the inputs of the row, which is refused.
      bound: fields that follow from others, so that another value alone is refused.
      halves: fields that show in half precision only.
      beside: field -> what else is set, so that the field has something to act on.
      ragged: makes what is decoded, where that is not only a text: the text, padded on the left,
        and what stands beside it.
    """

    model_type: str
    rows: tuple[Row, ...]
    tiny: Mapping[str, Any]
    makers: Mapping[str, Maker] = dataclasses.field(default_factory=dict)
    published: Mapping[str, tuple[str, int, Mapping[str, Any]]]
    base: str
    shows: Mapping[str, str] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    refused: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()
    beside: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    ragged: Callable[[np.random.Generator, Row], tuple[Arrays, Arrays]] | None = None


def maker(
    model_type: str,
    name: str,
    tiny: Mapping[str, Any],
    *,
    dead: Mapping[str, str] = {},
    **defaults: Any,
) -> Callable[..., Row]:
    """A function `(id, class_name, changes={}, **options) -> Row` for one architecture.

    Args:
      model_type: the architecture.
      name: what its class names begin with.
      tiny: the config that `changes` add to.
      dead: of every row.
      **defaults: options of every row.
    """

    def one(id: str, class_name: str, changes: Mapping[str, Any] = {}, **options: Any) -> Row:
        return Row(
            id=f"{model_type}-{id}", model_type=model_type, class_name=f"{name}{class_name}",
            config={**tiny, **changes}, dead={**dead, **options.pop("dead", {})},
            **{**defaults, **options},
        )  # fmt: skip

    return one
