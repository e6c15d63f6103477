from __future__ import annotations

import numpy as np
import pytest

from vesalius.datasets.labels import resolve, uncertain_prior
from vesalius.errors import LabelsError, ShapeMismatch

NAN = np.nan
LABELS = np.array([[1, -1], [0, 1], [-1, NAN], [NAN, -1]], dtype=np.float64)


@pytest.mark.parametrize(
    ("policy", "targets", "known"),
    [
        ("ones", [[1, 1], [0, 1], [1, 0], [0, 1]], [[1, 1], [1, 1], [1, 0], [0, 1]]),
        ("zeros", [[1, 0], [0, 1], [0, 0], [0, 0]], [[1, 1], [1, 1], [1, 0], [0, 1]]),
        ("ignore", [[1, 0], [0, 1], [0, 0], [0, 0]], [[1, 0], [1, 1], [0, 0], [0, 0]]),
    ],
)
def test_hard_policies(policy: str, targets: list[list[int]], known: list[list[int]]) -> None:
    resolved = resolve(LABELS, policy)  # type: ignore[arg-type]
    np.testing.assert_array_equal(resolved.targets, targets)
    np.testing.assert_array_equal(resolved.known, np.array(known, dtype=bool))
    assert not resolved.uncertain.any()
    assert resolved.targets.dtype == np.float32


@pytest.mark.parametrize(("policy", "low", "high"), [("lsr", 0.55, 0.85), ("lsr-zeros", 0.0, 0.3)])
def test_smoothed_targets_fill_their_interval_and_touch_nothing_else(policy: str, low: float, high: float) -> None:
    labels = np.tile(LABELS, (500, 3))
    resolved = resolve(labels, policy, seed=3)  # type: ignore[arg-type]
    drawn = resolved.targets[labels == -1]
    assert low <= drawn.min() < low + 0.01
    assert high - 0.01 < drawn.max() <= high
    assert drawn.mean() == pytest.approx((low + high) / 2, abs=0.01)
    np.testing.assert_array_equal(resolved.targets[labels == 1], 1)
    np.testing.assert_array_equal(resolved.targets[labels == 0], 0)
    np.testing.assert_array_equal(resolved.known, ~np.isnan(labels))
    np.testing.assert_array_equal(resolved.targets, resolve(labels, policy, seed=3).targets)  # type: ignore[arg-type]
    assert (resolved.targets != resolve(labels, policy, seed=4).targets).any()  # type: ignore[arg-type]


def test_marginalise_leaves_the_uncertain_open_with_a_prior() -> None:
    resolved = resolve(LABELS, "marginalise")
    np.testing.assert_array_equal(resolved.uncertain, LABELS == -1)
    np.testing.assert_array_equal(resolved.known, ~np.isnan(LABELS))
    np.testing.assert_allclose(uncertain_prior(LABELS), [2 / 4, 2 / 3])
    np.testing.assert_allclose(resolved.targets, [[1, 2 / 3], [0, 1], [0.5, 0], [0, 2 / 3]], rtol=1e-6)
    given = resolve(LABELS, "marginalise", prior=np.array([0.25, 0.75]))
    np.testing.assert_allclose(given.targets, [[1, 0.75], [0, 1], [0.25, 0], [0, 0.75]])


def test_wrong_labels_policies_and_priors_are_refused() -> None:
    with pytest.raises(LabelsError, match="2 labels are neither"):
        resolve(np.array([[0.5, 2.0, 1.0]]), "ones")
    with pytest.raises(LabelsError, match="choose one of ones, zeros"):
        resolve(LABELS, "maybe")  # type: ignore[arg-type]
    with pytest.raises(ShapeMismatch, match="2 findings"):
        resolve(LABELS, "marginalise", prior=np.array([0.5]))
    with pytest.raises(LabelsError, match="outside"):
        resolve(LABELS, "marginalise", prior=np.array([0.5, 1.5]))


def test_the_labels_given_are_left_as_they_were() -> None:
    before = LABELS.copy()
    for policy in ("ones", "zeros", "ignore", "lsr", "lsr-zeros", "marginalise"):
        resolve(LABELS, policy)  # type: ignore[arg-type]
    np.testing.assert_array_equal(LABELS, before)
