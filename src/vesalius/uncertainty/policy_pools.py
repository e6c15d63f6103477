"""Checks a pool of predictions and its labels and lays them out for the search: the one place that knows each task's arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, Real
from scipy.special import expit, softmax

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels
from vesalius.uncertainty.policy_likelihoods import ChoicePool, NumberPool

PolicyTask = Literal["multiclass", "multilabel", "regression", "segmentation"]
Predictions = Real[np.ndarray, "view case ..."] | Sequence[np.ndarray]
Labels = Real[np.ndarray, "case ..."] | Sequence[np.ndarray]


def choice_pool(task: PolicyTask, predictions: Predictions, labels: Labels | None, *, class_axis: bool = False) -> ChoicePool:
    """Probabilities and truths of every cell; without labels every truth is unknown.

    `class_axis` says for segmentation that maps are (view, class, *space) and not (view, *space) of one foreground.

    Raises:
        EmptyInput: No view, no case, or no known label where labels are given.
        ShapeMismatch: Predictions and labels do not go together.
        ValueOutOfRange: A prediction that is not finite (a segmentation may hold NaN where a view did not see), or a strange label.
    """
    if task == "segmentation":
        return _maps(predictions, labels, class_axis)
    z = finite(predictions)
    expected = "(view, case, class)" if task == "multiclass" else "(view, case, finding)"
    if z.ndim != 3 or (task == "multiclass" and z.shape[2] < 2):
        raise ShapeMismatch(f"predictions {z.shape}; expected {expected}")
    if task == "multiclass":
        shares = np.moveaxis(softmax(z, axis=-1), -1, 0)
        truth = np.full(z.shape[1], -1) if labels is None else classes(labels, z.shape[2])
    else:
        flat = z.reshape(len(z), -1)
        shares = np.stack([expit(-flat), expit(flat)])
        truth = np.full(z.shape[1:], -1) if labels is None else _whole(known_labels(np.asarray(labels)))
    answer = "" if task == "multiclass" else " and finding"
    if truth.shape != (z.shape[1:2] if task == "multiclass" else z.shape[1:]):
        raise ShapeMismatch(f"labels {truth.shape} for predictions {z.shape}; expected one label a case{answer}")
    case = np.repeat(np.arange(z.shape[1]), truth.size // z.shape[1])
    known = truth.ravel() >= 0
    if labels is not None and not known.any():
        raise EmptyInput("no known label; a policy is searched on labelled cases")
    return ChoicePool(np.ascontiguousarray(shares), truth.ravel(), case, known / max(1, known.sum()))


def has_class_axis(predictions: Predictions, labels: Labels) -> bool:
    """Are maps (view, class, *space)? Judged by the label maps (*space).

    Raises:
        ShapeMismatch: A map is neither that nor (view, *space), or a label map is missing.
    """
    if not len(predictions) or len(labels) != len(predictions):
        raise ShapeMismatch(f"{len(predictions)} images, {len(labels)} label maps; expected one or more and as many of both")
    axes = {np.ndim(image) - np.ndim(truth) for image, truth in zip(predictions, labels, strict=True)}
    if axes not in ({1}, {2}):
        raise ShapeMismatch("a map of logits and its labels do not go together; expected (view, *class, *space) and (*space)")
    return axes == {2}


def _maps(predictions: Predictions, labels: Labels | None, class_axis: bool) -> ChoicePool:
    """Voxels of images of any sizes; the mean is over the known voxels of an image, then over images."""
    shares, truths, weights = [], [], []
    for number, image in enumerate(predictions):
        z = np.asarray(image, dtype=np.float64)
        truth = None if labels is None else np.asarray(labels[number])
        if truth is not None and z.shape[1 + class_axis :] != truth.shape:
            raise ShapeMismatch(f"a map of logits {z.shape} for labels {truth.shape}; expected (view, *class, *space) and (*space)")
        share = _image_shares(z, class_axis)
        shares.append(share)
        chosen = np.full(share.shape[2], -1) if truth is None else classes(truth.ravel(), len(share))
        truths.append(chosen)
        weights.append((chosen >= 0) / max(1, (chosen >= 0).sum()))
    if len({share.shape[:2] for share in shares}) > 1:
        raise ShapeMismatch("images differ in their number of views or classes; every image needs every view of the pool")
    used = sum(weight.any() for weight in weights)
    if labels is not None and not used:
        raise EmptyInput("no known voxel; a policy is searched on labelled images")
    case = np.repeat(np.arange(len(shares)), [share.shape[2] for share in shares])
    return ChoicePool(np.concatenate(shares, axis=2), np.concatenate(truths), case, np.concatenate(weights) / max(1, used))


def _image_shares(z: Float64[np.ndarray, " view *answer"], class_axis: bool) -> Float64[np.ndarray, "choice view voxel"]:
    """Probabilities of one image's voxels; 0 for every choice where a logit is NaN: unseen."""
    if not len(z) or np.isinf(z).any():
        raise ValueOutOfRange("a map holds no view, or infinite logits; expected finite logits, NaN where a view did not see")
    seen = ~np.isnan(z)
    flat = np.where(seen, z, 0.0)
    if class_axis:
        there = seen.all(axis=1, keepdims=True)
        return np.asarray(np.moveaxis((softmax(flat, axis=1) * there).reshape(*z.shape[:2], -1), 1, 0))
    return np.stack([(expit(side * flat) * seen).reshape(len(z), -1) for side in (-1, 1)])


def number_pool(predictions: Predictions, labels: Labels | None, floor: float | None) -> NumberPool:
    """Errors and variances of every case: predictions (view, case), or (view, case, 2) with a variance as second number.

    Raises:
        EmptyInput: No view, no case or no known label.
        ShapeMismatch: Predictions and labels do not go together.
        ValueOutOfRange: A prediction that is not finite, or a variance below 0.
    """
    z = finite(predictions)
    if z.ndim not in {2, 3} or (z.ndim == 3 and z.shape[2] != 2):
        raise ShapeMismatch(f"predictions {z.shape}; expected (view, case) or (view, case, mean and variance)")
    mean, variance = (z[..., 0], z[..., 1]) if z.ndim == 3 else (z, np.zeros_like(z))
    if (variance < 0).any():
        raise ValueOutOfRange("a predicted variance is below 0; pass variances, not their logarithms")
    truth = np.zeros(z.shape[1]) if labels is None else np.asarray(labels, dtype=np.float64)
    if truth.shape != (z.shape[1],) or np.isinf(truth).any():
        raise ShapeMismatch(f"labels {truth.shape} for predictions {z.shape}; expected one finite number a case, NaN unknown")
    if np.isnan(truth).all():
        raise EmptyInput("no known label; a policy is searched on labelled cases")
    spread = float((mean.var(axis=0) + variance.mean(axis=0)).mean()) if floor is None else floor
    return NumberPool(truth - mean, variance, spread or 1.0)


def finite(predictions: Predictions) -> Float64[np.ndarray, "view case *answer"]:
    """The predictions as one array, all finite.

    Raises:
        EmptyInput: No view or no case.
        ValueOutOfRange: One is not finite.
    """
    z = np.asarray(predictions, dtype=np.float64)
    if z.ndim < 2 or not z.size:
        raise EmptyInput(f"predictions {z.shape}; expected at least one view of one case: (view, case, ...)")
    if not np.isfinite(z).all():
        raise ValueOutOfRange("a prediction is not finite; leave that view or that case out")
    return z


def classes(labels: Labels, n_classes: int) -> Int64[np.ndarray, "case ..."]:
    """Class numbers from 0, -1 (or NaN) for unknown.

    Raises:
        ValueOutOfRange: A label that is no class.
    """
    truth = np.asarray(labels)
    chosen = _whole(truth) if truth.dtype.kind == "f" else truth.astype(np.int64)
    if ((chosen < -1) | (chosen >= n_classes)).any() or (
        truth.dtype.kind == "f" and (np.nan_to_num(truth, nan=-1) != chosen).any()
    ):
        raise ValueOutOfRange(f"a label is none of the {n_classes} classes; expected 0 to {n_classes - 1}, or -1 for unknown")
    return chosen


def _whole(labels: Float64[np.ndarray, "*axes"]) -> Int64[np.ndarray, "*axes"]:
    whole: Int64[np.ndarray, "*axes"] = np.nan_to_num(labels, nan=-1).astype(np.int64)
    return whole


def fingerprint(predictions: Predictions, labels: Labels) -> str:
    """SHA-256 of the numbers searched on, to notice when a policy is judged by them."""
    digest = hashlib.sha256()
    for part in (predictions, labels):
        for array in [part] if isinstance(part, np.ndarray) else part:
            digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()
