"""All prompt sets at once against the authors' way: one prompt set after the other, written out."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.zeroshot.slide_scores import PoolOptions, TextColumns, rules_of, score_slide
from vesalius.zeroshot.smoothing import neighbours, smooth_features

NAMES = ("a", "b", "c")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def example(patches: int = 130, members: int = 2, sets: int = 4, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    random = np.random.default_rng(seed)
    embeddings = unit(random.normal(size=(members, patches, 16)))
    heads = [unit(random.normal(size=(members, 3, 16))) for _ in range(sets)]
    places = np.stack([np.arange(patches) % 13, np.arange(patches) // 13], axis=1) * 256
    return embeddings, heads, places


def one_after_the_other(
    embeddings: np.ndarray, heads: list[np.ndarray], places: np.ndarray, options: PoolOptions
) -> dict[str, np.ndarray]:
    """For every prompt set: smooth, score, sort each class, average or sum the greatest K."""
    distance = np.linalg.norm(places[:, None] - places[None], axis=2).round(9)
    order = np.lexsort((places[:, 0] * np.ones_like(distance), places[:, 1] * np.ones_like(distance), distance), axis=1)
    nearest = np.stack([np.r_[at, order[at][order[at] != at]] for at in range(len(places))])[:, : options.neighbours]
    rows = {rule: [] for rule in rules_of(options.ks)}
    for head in heads:
        seen = embeddings.astype(float)
        if options.smoothing == "features":
            seen = np.stack([member[nearest].mean(axis=1) for member in seen])
            seen = seen / np.linalg.norm(seen, axis=-1, keepdims=True)
        scores = np.mean([member @ words.T for member, words in zip(seen, head.astype(float), strict=True)], axis=0)
        if options.smoothing == "scores":
            scores = scores[nearest].mean(axis=1)
        for k in options.ks:
            greatest = np.sort(scores, axis=0)[::-1][:k]
            rows[f"top-{k}"].append(greatest.mean(axis=0) if options.how == "mean" else greatest.sum(axis=0))
        rows["mean"].append(scores.mean(axis=0))
    return {rule: np.array(values) for rule, values in rows.items()}


@pytest.mark.parametrize("smoothing", ["none", "scores", "features"])
@pytest.mark.parametrize("how", ["mean", "sum"])
def test_equals_one_prompt_set_after_the_other(smoothing: str, how: str) -> None:
    embeddings, heads, places = example()
    options = PoolOptions((1, 5, 200), how, smoothing, 6)
    batches = (embeddings[:, start : start + 50] for start in range(0, 130, 50))
    found = score_slide(batches, TextColumns.stack(heads, NAMES), places, options)
    expected = one_after_the_other(embeddings, heads, places, options)
    assert list(found.pooled) == ["top-1", "top-5", "top-200", "mean"]
    for rule, values in expected.items():
        np.testing.assert_allclose(found.pooled[rule], values, atol=2e-6 if how == "mean" else 2e-4)


@pytest.mark.parametrize("smoothing", ["none", "scores", "features"])
def test_the_order_of_patches_changes_nothing(smoothing: str) -> None:
    embeddings, heads, places = example()
    columns, options = TextColumns.stack(heads, NAMES), PoolOptions((1, 10), smoothing=smoothing)
    first = score_slide([embeddings], columns, places, options)
    order = np.random.default_rng(1).permutation(len(places))
    second = score_slide([embeddings[:, order]], columns, places[order], options)
    for rule in first.pooled:
        np.testing.assert_allclose(second.pooled[rule], first.pooled[rule], atol=1e-6)
    np.testing.assert_allclose(second.patches, first.patches[order], atol=1e-6)


def test_what_map_and_table_show_is_the_mean_over_prompt_sets() -> None:
    embeddings, heads, places = example()
    found = score_slide([embeddings], TextColumns.stack(heads, NAMES), places)
    expected = np.mean([np.mean([e @ h.T for e, h in zip(embeddings, head, strict=True)], axis=0) for head in heads], axis=0)
    np.testing.assert_allclose(found.patches, expected, atol=1e-6)


def test_columns_are_sets_one_after_the_other() -> None:
    heads = [np.full((1, 3, 2), number, dtype=np.float32) * np.array([1, 2, 3], np.float32)[:, None] for number in (1, 10)]
    columns = TextColumns.stack(heads, NAMES)
    np.testing.assert_array_equal(columns.weights[0, 0], [1, 2, 3, 10, 20, 30])
    np.testing.assert_array_equal(columns.by_set(np.arange(6)), [[0, 1, 2], [3, 4, 5]])


def test_what_does_not_fit() -> None:
    embeddings, heads, places = example()
    columns = TextColumns.stack(heads, NAMES)
    with pytest.raises(ShapeMismatch, match="features of this model"):
        score_slide([embeddings[:, :, :8]], columns, places)
    with pytest.raises(ShapeMismatch, match="features of this model"):
        score_slide([embeddings[:1]], columns, places)
    with pytest.raises(ShapeMismatch, match="one each"):
        score_slide([embeddings], columns, places[:5])
    with pytest.raises(EmptyInput):
        score_slide([], columns, places[:0])
    with pytest.raises(EmptyInput):
        TextColumns.stack([], NAMES)
    with pytest.raises(ShapeMismatch, match="sets x classes"):
        TextColumns(columns.weights, NAMES, 5)
    with pytest.raises(ValueOutOfRange, match="none, scores or features"):
        PoolOptions(smoothing="some")


def test_neighbours_that_cancel_leave_a_patch_as_it_is() -> None:
    rows = np.array([[1, 0], [-1, 0]], np.float32)
    np.testing.assert_array_equal(smooth_features(rows, neighbours(np.array([[0, 0], [1, 0]]), 2)), rows)
    with pytest.raises(ShapeMismatch):
        smooth_features(rows, np.zeros((3, 1), np.int64))
