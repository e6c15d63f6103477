"""Test-time augmentation: ask a model about several views of one image, bring the answers back, average what was really seen.

The model is any callable from one image to one array: a torch module behind a lambda, an ONNX session, a web service.

Sources: Wang 2019, arXiv:1807.07356 (inverse transform before averaging; volume variation coefficient); Ayhan & Berens 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty.ensembles import Averaging, mean_of
from vesalius.uncertainty.transforms import Interpolation, Transform
from vesalius.uncertainty.views import refuse_unsafe

TtaTask = Literal["multilabel", "multiclass", "regression", "segmentation"]
Image = Shaped[np.ndarray, "*axes"]
Model = Callable[[np.ndarray], np.ndarray]
Answer = Float64[np.ndarray, "*answer"]


@dataclass(frozen=True)
class TtaAnswer:
    """What a model says of several views of one image.

    Attributes:
        values: (view, *answer), on the image's own grid; NaN where a view had only padding to go by.
        mean: Over the views that saw the voxel, by the rule asked for; NaN where none did. For findings and classes: logits.
        std: As `mean`, ddof 0: one view gives 0. Of the values as the model returned them.
        n_seen: How many views count in each place.
        mode: For answers in whole numbers (label maps), the label most views gave, the lowest of equals, -1 where none saw.
        volume_variation: For segmentations, sd / mean over views of the sum over voxels that every view saw, one number a class in
            front: 0 where all answers are empty, NaN for answers below 0 (logits have no volume) or with no voxel seen by all.
    """

    values: Float64[np.ndarray, " view *answer"]
    mean: Float64[np.ndarray, "*answer"]
    std: Float64[np.ndarray, "*answer"]
    n_seen: Int64[np.ndarray, "*answer"]
    mode: Int64[np.ndarray, "*answer"] | None = None
    volume_variation: Float64[np.ndarray, "*front"] | None = None


def tta_predict(
    model: Model,
    image: Image,
    transforms: Sequence[Transform],
    *,
    task: TtaTask = "multilabel",
    of: Averaging = "logits",
    space: Literal[2, 3] = 2,
    interpolation: Interpolation = "linear",
    allow_laterality_unsafe: bool = False,
) -> TtaAnswer:
    """Asks the model about every view of one image and joins the answers.

    Args:
        model: From one image to one answer: logits (finding,) or (class,), numbers, or a map (*class, *space) for segmentation.
            Return probabilities a voxel if these are to be averaged; a map of whole numbers is brought back without interpolation.
        image: (*channel, height, width) or (*channel, depth, height, width).
        transforms: The views; put `Identity()` first to keep the image as it is.
        task: Says what the answer is.
        of: What is averaged for findings and classes; see `mean_of`. Numbers and maps are averaged as they are.
        space: How many of the last axes are space.
        interpolation: Between voxels, for maps of real numbers.
        allow_laterality_unsafe: Flips and quarter turns put the heart on the other side; say so if the image has no side.

    Raises:
        EmptyInput: No transform.
        RuleError: A transform may swap left and right and was not allowed.
        ShapeMismatch: A map is not as large as the view, or the answers differ in shape.
        ValueOutOfRange: An unknown task, or an answer that is not finite.

    Source: Wang 2019. monai.data.TestTimeAugmentation draws its views at random, averages padded voxels too, divides std by one
        less than the views, and its "vvc" is the sd of all voxel values over their mean, not of the volumes.
    Checked against: monai.data.TestTimeAugmentation for flips, and each view by hand (tests/reference).
    """
    if task not in get_args(TtaTask):
        raise ValueOutOfRange(f"task {task!r}; expected one of {', '.join(get_args(TtaTask))}")
    if not transforms:
        raise EmptyInput("no transform; Identity() alone is the image as it is")
    refuse_unsafe(transforms, allow_laterality_unsafe=allow_laterality_unsafe)
    pixels = np.asarray(image)
    if pixels.ndim < space or max(transform.dimensions for transform in transforms) > space:
        raise ShapeMismatch(f"an image {pixels.shape} with {space} axes of space; a transform acts on more, or the image has fewer")
    if task == "segmentation":
        return _join_maps([_look(model, pixels, transform, space, interpolation) for transform in transforms])
    values = np.stack(_equal([np.asarray(model(transform.apply(pixels))) for transform in transforms])).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueOutOfRange("the model's answer to a view is not finite; look at the network, or leave that view out")
    mean = np.asarray(values.mean(axis=0)) if task == "regression" else mean_of(values, of, task=task)
    return TtaAnswer(values, mean, _deviation(values), np.full(mean.shape, len(values)))


def predict_pool(
    model: Model,
    images: Sequence[Image],
    transforms: Sequence[Transform],
    *,
    task: TtaTask = "multilabel",
    space: Literal[2, 3] = 2,
    interpolation: Interpolation = "linear",
    allow_laterality_unsafe: bool = False,
) -> Float64[np.ndarray, "view case *answer"] | list[Float64[np.ndarray, " view *answer"]]:
    """The model's answers to every view of every image, as `GreedyPolicySearch.fit` takes them.

    Returns:
        (view, case, *answer); for segmentation one (view, *class, *space) an image, because images differ in size.

    Raises:
        EmptyInput: No image or no transform.
        RuleError: A transform may swap left and right and was not allowed.
        ShapeMismatch: As in `tta_predict`.
    """
    if not len(images):
        raise EmptyInput("no image; a pool of predictions needs at least one")
    answers = [
        tta_predict(
            model,
            image,
            transforms,
            task=task,
            space=space,
            interpolation=interpolation,
            allow_laterality_unsafe=allow_laterality_unsafe,
        ).values
        for image in images
    ]
    return answers if task == "segmentation" else np.stack(_equal(answers), axis=1)


@dataclass(frozen=True)
class _Look:
    """One view's map on the image's grid, and where it saw."""

    answer: Shaped[np.ndarray, "*answer"]
    seen: Bool[np.ndarray, "*space"]


def _look(model: Model, image: Image, transform: Transform, space: int, interpolation: Interpolation) -> _Look:
    view = transform.apply(image)
    answer = np.asarray(model(view))
    if answer.ndim < space or answer.shape[answer.ndim - space :] != view.shape[view.ndim - space :]:
        raise ShapeMismatch(f"a map {answer.shape} for a view {view.shape}; expected the same last {space} axes")
    if not np.isfinite(answer).all():
        raise ValueOutOfRange("the model's map of a view is not finite; look at the network, or leave that view out")
    whole = answer.dtype.kind in "biu"
    back = transform.inverse(answer, interpolation="nearest" if whole else interpolation)
    return _Look(back, transform.seen(image.shape[image.ndim - space :]))


def _join_maps(looks: Sequence[_Look]) -> TtaAnswer:
    answers = _equal([look.answer for look in looks])
    space = looks[0].seen.ndim
    seen = np.stack([np.broadcast_to(look.seen, answer.shape) for look, answer in zip(looks, answers, strict=True)])
    stacked = np.stack(answers)
    values = np.where(seen, stacked, np.nan).astype(np.float64)
    n_seen = seen.sum(axis=0)
    mean = _masked_mean(values, seen)
    deviations = np.where(seen, values - mean, np.nan)
    std = np.sqrt(_masked_mean(deviations**2, seen))
    mode = _mode(stacked.astype(np.int64), seen) if stacked.dtype.kind in "biu" else None
    return TtaAnswer(values, mean, std, n_seen, mode, _volume_variation(values, np.asarray(seen.all(axis=0)), space))


def _masked_mean(values: Float64[np.ndarray, " view *answer"], seen: Bool[np.ndarray, " view *answer"]) -> Answer:
    """Mean over the views that saw; NaN where none did."""
    total, count = np.where(seen, values, 0.0).sum(axis=0), seen.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def _mode(labels: Int64[np.ndarray, " view *answer"], seen: Bool[np.ndarray, " view *answer"]) -> Int64[np.ndarray, "*answer"]:
    """The label with most votes in each place, the lowest of equals; -1 where nobody saw."""
    best, most = np.full(labels.shape[1:], -1, dtype=np.int64), np.zeros(labels.shape[1:], dtype=np.int64)
    for label in np.unique(labels):
        votes = ((labels == label) & seen).sum(axis=0)
        best, most = np.where(votes > most, label, best), np.maximum(votes, most)
    return best


def _volume_variation(
    values: Float64[np.ndarray, " view *answer"], seen_by_all: Bool[np.ndarray, "*answer"], space: int
) -> Float64[np.ndarray, "*front"]:
    axes = tuple(range(-space, 0))
    volumes = np.where(seen_by_all, values, 0.0).sum(axis=axes)
    mean, sd = volumes.mean(axis=0), _deviation(volumes)
    ratio = np.divide(sd, mean, out=np.zeros_like(sd), where=mean > 0)
    meaningless = (values < 0).any(axis=(0, *axes)) | ~seen_by_all.any(axis=axes)
    return np.asarray(np.where(meaningless, np.nan, ratio))


def _deviation(values: Float64[np.ndarray, " view *answer"]) -> Float64[np.ndarray, "*answer"]:
    return np.asarray((values - values[0]).std(axis=0))


def _equal(answers: list[np.ndarray]) -> list[np.ndarray]:
    shapes = sorted({answer.shape for answer in answers})
    if len(shapes) > 1:
        raise ShapeMismatch(f"answers of shapes {', '.join(map(str, shapes))}; a model must answer every view alike")
    return answers
