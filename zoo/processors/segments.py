"""Objects and their masks from what a detector returns: boxes in pixels, maps of segments."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

Sizes = Sequence[Sequence[int]] | None


def _softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _float(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)


def check_sizes(sizes: Any, rows: int) -> list[tuple[int, int]] | None:
    """Sizes (height, width) of images, one for each row of the output.

    Raises:
        ValueError: another number of them, or something that is not a size.
    """
    if sizes is None:
        return None
    found = np.asarray(sizes)
    if found.shape != (rows, 2) or found.dtype.kind not in "iuf" or (found < 1).any():
        raise ValueError(
            f"target_sizes: found the shape {found.shape}, expected a height and a width above 0 "
            f"for each of {rows} images; pass the sizes of the images as they were"
        )
    return [(int(height), int(width)) for height, width in found]


def boxes(outputs: Any, threshold: float, sizes: Sizes) -> list[dict[str, np.ndarray]]:
    """`scores`, `labels` and `boxes` (left, top, right, bottom) of the objects of each image.

    Boxes are in pixels of `sizes`, or shares of the image where there are none.
    """
    probability = _softmax(_float(outputs.logits))[..., :-1]
    scores, labels = probability.max(-1), probability.argmax(-1)
    centre, extent = np.split(_float(outputs.pred_boxes), 2, axis=-1)
    corners = np.concatenate([centre - extent / 2, centre + extent / 2], axis=-1)
    wanted = check_sizes(sizes, len(scores))
    if wanted is not None:
        scale = np.array([(w, h, w, h) for h, w in wanted], np.float32)
        corners = corners * scale[:, None]
    kept = scores > threshold
    return [
        {"scores": s[k], "labels": n[k], "boxes": b[k]}
        for s, n, b, k in zip(scores, labels, corners, kept, strict=True)
    ]


def enlarged(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """x [..., H, W] -> [..., height, width], bilinear between centres of pixels."""
    x = np.einsum("ih,...hw->...iw", _bilinear(x.shape[-2], height), x)
    return np.einsum("jw,...iw->...ij", _bilinear(x.shape[-1], width), x)


def _bilinear(size: int, wanted: int) -> np.ndarray:
    centre = np.maximum((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0)
    first = np.minimum(centre.astype(int), size - 1)
    share = centre - first
    matrix = np.zeros((wanted, size), np.float32)
    rows = np.arange(wanted)
    np.add.at(matrix, (rows, first), 1 - share)
    np.add.at(matrix, (rows, np.minimum(first + 1, size - 1)), share)
    return matrix


def classes(outputs: Any, sizes: Sizes) -> list[np.ndarray]:
    """The class of every pixel of each image: what queries say of it, by how sure they are."""
    probability = _softmax(_float(outputs.logits))[..., :-1]
    shares = np.einsum("bqc,bqhw->bchw", probability, _sigmoid(_float(outputs.pred_masks)))
    wanted = check_sizes(sizes, len(shares))
    if wanted is None:
        return list(shares.argmax(1))
    return [enlarged(x, *size).argmax(0) for x, size in zip(shares, wanted, strict=True)]


def segments(
    outputs: Any,
    sizes: Sizes,
    *,
    threshold: float,
    mask_threshold: float,
    overlap: float,
    fused: Collection[int] = (),
) -> list[dict[str, Any]]:
    """For each image a `segmentation` [H, W] of the ids of segments, and `segments_info`.

    A query is kept above `threshold`; each pixel goes to the query that is surest of it; a segment
    is kept where it has more than the share `overlap` of what its mask alone would cover. Segments
    of classes in `fused` share one id. Pixels of none are 0, or -1 where no query is kept.
    """
    probability = _softmax(_float(outputs.logits))
    scores, labels = probability.max(-1), probability.argmax(-1)
    masks = _sigmoid(_float(outputs.pred_masks))
    wanted = check_sizes(sizes, len(scores))
    results = []
    for i in range(len(scores)):
        kept = (labels[i] != probability.shape[-1] - 1) & (scores[i] > threshold)
        height, width = masks.shape[-2:] if wanted is None else wanted[i]
        if not kept.any():
            empty = np.full((height, width), -1, np.int32)
            results.append({"segmentation": empty, "segments_info": []})
            continue
        some = masks[i][kept]
        some = some if wanted is None else enlarged(some, height, width)
        results.append(
            _segments(some, scores[i][kept], labels[i][kept], mask_threshold, overlap, fused)
        )
    return results


def _segments(
    masks: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    mask_threshold: float,
    overlap: float,
    fused: Collection[int],
) -> dict[str, Any]:
    masks = masks * scores[:, None, None]
    owner = masks.argmax(0)
    segmentation = np.zeros(owner.shape, np.int32)
    found: list[dict[str, Any]] = []
    shared: dict[int, int] = {}
    number = 0
    for k, (score, label) in enumerate(zip(scores, labels.tolist(), strict=True)):
        own, alone = owner == k, int((masks[k] >= mask_threshold).sum())
        if not own.any() or not alone or not own.sum() / alone > overlap:
            continue
        number = shared[label] if label in shared else number + 1
        segmentation[own] = number
        found.append({"id": number, "label_id": label, "was_fused": label in fused,
                      "score": round(float(score), 6)})  # fmt: skip
        if label in fused:
            shared[label] = number
    return {"segmentation": segmentation, "segments_info": found}


def runs(segmentation: np.ndarray) -> list[list[int]]:
    """For each id of a map, the starts, counted from one, and lengths of its runs, as in COCO."""
    found = []
    for number in np.unique(segmentation):
        inside = np.concatenate([[0], (segmentation == number).reshape(-1), [0]])
        ends = np.where(inside[1:] != inside[:-1])[0] + 1
        ends[1::2] -= ends[::2]
        found.append(ends.tolist())
    return found
