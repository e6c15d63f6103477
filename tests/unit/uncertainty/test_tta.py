from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from vesalius.errors import EmptyInput, RuleError, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import FILM_VIEWS, Flip, Identity, Rotate, Rotate90, Shift, predict_pool, tta_predict

IMAGE = np.random.default_rng(0).random((1, 10, 8))
SIDED = np.linspace(-1, 1, 8)


def heads(image: np.ndarray) -> np.ndarray:
    """Two logits, one of which knows the side."""
    return np.array([4 * image.mean(), (image * SIDED).sum()])


def test_findings_by_hand() -> None:
    views = [Identity(), Rotate(4.0)]
    by_hand = np.stack([heads(view.apply(IMAGE)) for view in views])
    answer = tta_predict(heads, IMAGE, views)
    np.testing.assert_allclose(answer.mean, by_hand.mean(axis=0))
    np.testing.assert_allclose(answer.std, by_hand.std(axis=0))
    np.testing.assert_array_equal(answer.values, by_hand)
    assert answer.n_seen.tolist() == [2, 2]
    assert answer.mode is answer.volume_variation is None
    averaged = tta_predict(heads, IMAGE, views, of="probabilities")
    np.testing.assert_allclose(expit(averaged.mean), expit(by_hand).mean(axis=0))


def test_classes_and_numbers_by_hand() -> None:
    views = [Identity(), Flip()]
    by_hand = np.stack([heads(view.apply(IMAGE)) for view in views])
    classes = tta_predict(heads, IMAGE, views, task="multiclass", of="probabilities", allow_laterality_unsafe=True)
    np.testing.assert_allclose(softmax(classes.mean), softmax(by_hand, axis=-1).mean(axis=0))
    number = tta_predict(lambda image: heads(image)[1], IMAGE, views, task="regression", allow_laterality_unsafe=True)
    assert number.mean.shape == ()
    assert float(number.mean) == pytest.approx(by_hand[:, 1].mean())


def test_flips_need_a_word_for_it() -> None:
    for unsafe in (Flip(), Flip((-2,)), Rotate90(2)):
        with pytest.raises(RuleError, match="allow_laterality_unsafe=True"):
            tta_predict(heads, IMAGE, [Identity(), unsafe])
        with pytest.raises(RuleError, match="heart"):
            predict_pool(heads, [IMAGE], [unsafe])


def test_maps_keep_channels_and_turn_back_from_other_shapes() -> None:
    model = lambda image: np.stack([image[0], 1 - image[0]])  # noqa: E731 - two classes a voxel
    answer = tta_predict(model, IMAGE, [Identity(), Rotate90(1)], task="segmentation", allow_laterality_unsafe=True)
    np.testing.assert_allclose(answer.mean, model(IMAGE))
    np.testing.assert_allclose(answer.std, 0, atol=1e-15)
    np.testing.assert_allclose(answer.volume_variation, [0, 0], atol=1e-15)
    assert answer.values.shape == (2, 2, 10, 8)


def test_label_maps_have_a_mode_and_unseen_voxels_none() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (6, 5))
    answer = tta_predict(
        lambda image: image, labels, [Shift((0.0, 2.0)), Shift((0.0, 1.0)), Shift((0.0, 1.0))], task="segmentation"
    )
    assert answer.mode is None  # linear views of whole numbers are not whole
    whole = tta_predict(
        lambda image: np.rint(image).astype(int), labels, [Shift((0.0, 2.0)), Shift((0.0, 1.0))], task="segmentation"
    )
    np.testing.assert_array_equal(whole.mode[:, :4], labels[:, :4])
    np.testing.assert_array_equal(whole.mode[:, 4], -1)
    assert np.isnan(whole.mean[:, 4]).all()
    assert np.isnan(whole.std[:, 4]).all()
    assert whole.n_seen[0].tolist() == [2, 2, 2, 1, 0]


def test_the_mode_is_the_most_frequent_and_the_lowest_of_equals() -> None:
    answers = iter(np.array([[[2, 1]], [[2, 0]], [[0, 1]], [[1, 0]]]))
    answer = tta_predict(lambda image: next(answers), np.zeros((1, 2)), [Identity()] * 4, task="segmentation")
    assert answer.mode.tolist() == [[2, 0]]
    np.testing.assert_allclose(answer.mean, [[1.25, 0.5]])


def test_volume_variation_of_empty_answers_and_of_logits() -> None:
    views = [Identity(), Rotate(5.0)]
    empty = tta_predict(lambda image: np.zeros(image.shape[1:]), IMAGE, views, task="segmentation")
    assert float(empty.volume_variation) == 0
    logits = tta_predict(lambda image: image[0] - 0.5, IMAGE, views, task="segmentation")
    assert np.isnan(logits.volume_variation)
    sizes = iter([1.0, 3.0])
    grown = tta_predict(lambda image: np.full(image.shape[1:], next(sizes)), IMAGE, views, task="segmentation")
    assert float(grown.volume_variation) == pytest.approx(0.5)


def test_a_volume() -> None:
    volume = np.random.default_rng(2).random((5, 6, 7))
    answer = tta_predict(lambda image: image, volume, [Identity(), Shift((1.0, 0.0, 0.0))], task="segmentation", space=3)
    np.testing.assert_allclose(answer.mean, volume)
    assert answer.n_seen[-1].max() == 1


def test_a_pool_is_what_each_view_says() -> None:
    images = [IMAGE, IMAGE + 0.1, IMAGE * 0.5]
    pool = predict_pool(heads, images, FILM_VIEWS)
    assert pool.shape == (5, 3, 2)
    np.testing.assert_array_equal(pool[3, 1], heads(FILM_VIEWS[3].apply(images[1])))
    maps = predict_pool(lambda image: image, [IMAGE, IMAGE[:, :6]], FILM_VIEWS, task="segmentation")
    assert [one.shape for one in maps] == [(5, 1, 10, 8), (5, 1, 6, 8)]
    assert np.isnan(maps[0][1]).any()


def test_refusals() -> None:
    with pytest.raises(EmptyInput, match="Identity"):
        tta_predict(heads, IMAGE, [])
    with pytest.raises(EmptyInput, match="no image"):
        predict_pool(heads, [], FILM_VIEWS)
    with pytest.raises(ValueOutOfRange, match="segmentation"):
        tta_predict(heads, IMAGE, FILM_VIEWS, task="detection")
    with pytest.raises(ShapeMismatch, match="same last 2 axes"):
        tta_predict(heads, IMAGE, FILM_VIEWS, task="segmentation")
    with pytest.raises(ShapeMismatch, match="axes of space"):
        tta_predict(heads, IMAGE[0], [Shift((1.0, 0.0, 0.0))])
    with pytest.raises(ValueOutOfRange, match="not finite"):
        tta_predict(lambda image: np.array([np.nan]), IMAGE, FILM_VIEWS)
    with pytest.raises(ValueOutOfRange, match="not finite"):
        tta_predict(lambda image: image[0] * np.nan, IMAGE, FILM_VIEWS, task="segmentation")
    lengths = iter([2, 3, 2, 2, 2])
    with pytest.raises(ShapeMismatch, match="alike"):
        tta_predict(lambda image: np.zeros(next(lengths)), IMAGE, FILM_VIEWS)
