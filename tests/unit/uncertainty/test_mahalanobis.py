"""Mahalanobis distance: what each form of labels means, what is refused, and what stays the same through its state."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from vesalius.errors import NotEstimable, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import Mahalanobis, detector_from_state


def classes(n: int = 300, dim: int = 5, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(n_classes, size=n)
    return random.normal(size=(n, dim)) + 6 * random.normal(size=(n_classes, dim))[labels], labels


def test_between_classes_is_foreign_to_the_class_form_and_home_to_the_single_one() -> None:
    x, labels = classes()
    between = x.mean(axis=0, keepdims=True)
    by_class, single = Mahalanobis("class").fit(x, labels=labels), Mahalanobis().fit(x)
    assert by_class.score(between)[0] > np.quantile(by_class.score(x), 0.999)
    assert single.score(between)[0] < np.quantile(single.score(x), 0.01)


def test_unknown_classes_are_left_out_and_numbers_may_have_gaps() -> None:
    x, labels = classes()
    some = np.where(np.arange(300) < 40, -1, labels)
    expected = Mahalanobis("class", shrinkage=None).fit(x[40:], labels=labels[40:]).score(x)
    assert Mahalanobis("class", shrinkage=None).fit(x, labels=some).score(x) == pytest.approx(expected, rel=1e-9)
    hidden = np.where(some == -1, np.nan, 10.0 * some)
    assert Mahalanobis("class", shrinkage=None).fit(x, labels=hidden).score(x) == pytest.approx(expected, rel=1e-9)


def test_relative_takes_either_kind_of_labels() -> None:
    x, labels = classes()
    distance, common = (Mahalanobis(form, shrinkage=None).fit(x, labels=labels).score(x) for form in ("class", "single"))
    relative = Mahalanobis("relative", shrinkage=None).fit(x, labels=labels).score(x)
    assert relative == pytest.approx(distance - common, abs=1e-9)
    table = (labels[:, None] == np.arange(2)).astype(float)
    two = Mahalanobis("two-class", shrinkage=None).fit(x, labels=table).score(x)
    assert Mahalanobis("relative", shrinkage=None).fit(x, labels=table).score(x) == pytest.approx(two - 2 * common, abs=1e-8)


def test_a_finding_nobody_labelled_does_not_count() -> None:
    x, labels = classes()
    table = (labels[:, None] == np.arange(2)).astype(float)
    wider = np.column_stack([table, np.full(300, np.nan)])
    expected = Mahalanobis("two-class").fit(x, labels=table).score(x)
    assert np.array_equal(Mahalanobis("two-class").fit(x, labels=wider).score(x), expected)


@pytest.mark.parametrize("form", ["single", "class", "two-class", "relative"])
@pytest.mark.parametrize("shrinkage", ["ledoit-wolf", 0.1, None])
def test_state_is_exact(form: str, shrinkage: object) -> None:
    x, labels = classes()
    truth = (labels[:, None] == np.arange(2)).astype(float) if form == "two-class" else labels
    fitted = Mahalanobis(form, shrinkage=shrinkage).fit(x, labels=truth)
    again = detector_from_state(fitted.state(), json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.score(x), fitted.score(x))
    assert again.to_json() == fitted.to_json()


def test_float32_features_are_worked_on_in_float64() -> None:
    x, labels = classes()
    far = (1e3 * x + 1e5).astype(np.float32)
    expected = Mahalanobis("class").fit(far.astype(np.float64), labels=labels).score(far.astype(np.float64))
    assert np.array_equal(Mahalanobis("class").fit(far, labels=labels).score(far), expected)


def test_refusals() -> None:
    x, labels = classes(n=12, dim=10, n_classes=3)
    with pytest.raises(NotEstimable, match="12 cases around 3 means for 10 dimensions"):
        Mahalanobis("class", shrinkage=None).fit(x, labels=np.arange(12) % 3)
    x, labels = classes()
    copied = np.column_stack([x, x[:, 0] / 3])
    with pytest.raises(NotEstimable, match="no spread in some direction"):
        Mahalanobis(shrinkage=None).fit(copied)
    assert np.isfinite(Mahalanobis().fit(copied).score(copied)).all()
    for form, truth, word in (
        ("class", labels[:, None], "class numbers"),
        ("two-class", labels, "of 1, 0, NaN"),
        ("relative", labels[:9], "class numbers or"),
    ):
        with pytest.raises(ShapeMismatch, match=word):
            Mahalanobis(form).fit(x, labels=truth)
    with pytest.raises(ValueOutOfRange, match="class numbers from 0"):
        Mahalanobis("class").fit(x, labels=labels + 0.5)
    with pytest.raises(NotEstimable, match="no known label"):
        Mahalanobis("class").fit(x, labels=np.full(300, -1))
    for wrong in (-0.1, "oas", np.nan):
        with pytest.raises(ValueOutOfRange, match="shrinkage"):
            Mahalanobis(shrinkage=wrong)


@pytest.mark.parametrize("form", ["single", "class", "relative"])
def test_one_broken_row_spoils_no_other(form: str) -> None:
    x, labels = classes()
    fitted = Mahalanobis(form).fit(x, labels=labels)
    expected = fitted.score(x)
    for bad in (np.nan, np.inf, -np.inf, 1e200):
        broken = x.copy()
        broken[7, 2] = bad
        found = fitted.score(broken)
        assert found[7] == np.inf
        assert np.array_equal(np.delete(found, 7), np.delete(expected, 7))


def test_memory_stays_flat() -> None:
    """The diagonal of a case x case matrix, as two peers take it, would be 800 MB here."""
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(10_000, 24)).astype(np.float32), random.integers(3, size=10_000)
    fitted = Mahalanobis("class").fit(x, labels=labels)
    tracemalloc.start()
    fitted.score(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
