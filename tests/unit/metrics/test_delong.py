"""DeLong's edges: one case of a class, a curve without a fault, curves that are the same, and patients with several images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.errors import ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auroc, delong, delong_test, delong_test_unpaired


def cohort(seed: int = 0, n: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.4).astype(float)
    return labels, np.round(random.normal(size=n) + labels, 1), random.integers(0, n // 3, n)


def test_value_is_the_auroc_and_unknown_labels_are_left_out() -> None:
    labels, scores, patients = cohort()
    masked = labels.copy()
    masked[::7], masked[3::11] = np.nan, -1
    keep = np.isin(masked, (0, 1))
    found = delong(masked, np.where(keep, scores, np.nan), patients)
    assert found.value == pytest.approx(auroc(masked[keep], scores[keep]), abs=1e-15)
    assert found == delong(labels[keep], scores[keep], patients[keep])
    assert (found.n_positive, found.n_negative) == ((masked == 1).sum(), (masked == 0).sum())


def test_each_case_its_own_patient_is_no_cluster() -> None:
    labels, scores, _ = cohort(1)
    alone, named = delong(labels, scores), delong(labels, scores, np.arange(80).astype(str))
    assert (named.low, named.high, named.standard_error) == pytest.approx((alone.low, alone.high, alone.standard_error), abs=1e-14)


def test_copied_images_widen_nothing_by_patient_and_halve_the_variance_by_row() -> None:
    labels, scores, _ = cohort(2)
    y, s, owner = np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(np.arange(80), 4)
    assert delong(y, s, owner).standard_error == pytest.approx(delong(labels, scores).standard_error, rel=1e-12)
    assert delong(y, s).standard_error == pytest.approx(delong(labels, scores).standard_error / 2, rel=0.02)


def test_order_of_rows_is_of_no_account() -> None:
    labels, scores, patients = cohort(3)
    order = np.random.default_rng(0).permutation(80)
    one, other = delong(labels, scores, patients), delong(labels[order], scores[order], patients[order])
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-14)


@pytest.mark.parametrize("scale", ["logit", "plain"])
def test_never_outside_zero_and_one(scale: str) -> None:
    labels, scores = np.repeat([0.0, 1.0], 4), np.array([0, 1, 2, 4.5, 4, 5, 6, 7])
    found = delong(labels, scores, scale=scale)
    assert 0 <= found.low < found.value < found.high <= 1
    assert (found.high == 1) == (scale == "plain")
    flipped = delong(labels, -scores, scale=scale)
    assert (flipped.low, flipped.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-14)


def test_one_case_of_a_class_has_no_interval() -> None:
    found = delong(np.array([1.0, 0, 0, 0]), np.arange(4.0))
    assert found.value == 0.0
    assert math.isnan(found.low)
    assert found.reason == "not estimable: one present case has no spread"
    assert delong(np.array([1.0, 1, 1, 0]), np.arange(4.0)).reason == "not estimable: one absent case has no spread"
    one_patient = delong(np.array([1.0, 1, 0, 0]), np.array([1.0, 3, 2, 0]), np.array(["a", "a", "b", "c"]))
    assert one_patient.reason == "not estimable: every present case is of one patient"
    nobody = delong(np.ones(3), np.arange(3.0))
    assert math.isnan(nobody.value)
    assert "one class" in str(nobody.reason)
    test = delong_test(np.array([1.0, 0, 0]), np.arange(3.0), -np.arange(3.0))
    assert (test.value, math.isnan(test.p_value), test.reason) == (1.0, True, "not estimable: one present case has no spread")
    assert math.isnan(delong_test(np.ones(3), np.arange(3.0), np.arange(3.0)).value)


def test_a_faultless_curve_is_not_certain() -> None:
    """Ten present, six absent: six pairs without a common case, all right by chance AUROC^6 at most, and 0.025^(1/6) = 0.5407."""
    labels = np.repeat([1.0, 0.0], [10, 6])
    found = delong(labels, labels)
    assert (found.value, found.high, found.standard_error) == (1.0, 1.0, 0.0)
    assert found.low == pytest.approx(0.540742, abs=1e-6)
    worst = delong(labels, -labels)
    assert (worst.value, worst.low) == (0.0, 0.0)
    assert worst.high == pytest.approx(1 - found.low)
    wide = delong(labels, labels, confidence=0.99)
    assert wide.low == pytest.approx(0.005 ** (1 / 6))


def test_pairs_of_a_faultless_curve_have_no_patient_in_common() -> None:
    """Five patients with both classes make two such pairs; three with one and four with the other make three."""
    both = delong(np.tile([1.0, 0.0], 5), np.tile([1.0, 0.0], 5), np.repeat(np.arange(5), 2))
    assert both.low == pytest.approx(0.025 ** (1 / 2))
    labels = np.repeat([1.0, 0.0], [9, 8])
    apart = delong(labels, labels, np.append(np.repeat([0, 1, 2], 3), np.repeat([3, 4, 5, 6], 2)))
    assert apart.low == pytest.approx(0.025 ** (1 / 3))


def test_a_score_that_says_nothing() -> None:
    found = delong(np.array([1.0, 1, 0, 0, 0]), np.zeros(5))
    assert found.value == 0.5
    assert "all scores equal" in str(found.reason)


def test_identical_curves() -> None:
    labels, scores, patients = cohort(4)
    for owners in (None, patients):
        same = delong_test(labels, scores, np.exp(scores), owners)
        assert (same.value, same.low, same.high, same.z, same.p_value) == (0.0, 0.0, 0.0, 0.0, 1.0)
    perfect = delong_test(labels, labels, labels * 2)
    assert (perfect.z, perfect.p_value, math.isnan(perfect.low)) == (0.0, 1.0, True)
    assert perfect.reason is not None
    flat = delong_test(labels, np.zeros(80), labels)
    assert (flat.value, math.isnan(flat.p_value)) == (0.5, True)


def test_swapping_the_models_turns_the_sign() -> None:
    labels, first, patients = cohort(5)
    second = first + np.random.default_rng(1).normal(size=80)
    one, other = delong_test(labels, first, second, patients), delong_test(labels, second, first, patients)
    assert one.z == -other.z
    assert one.p_value == other.p_value
    assert one.value == pytest.approx(auroc(labels, second) - auroc(labels, first), abs=1e-15)
    assert (one.low + one.high) / 2 == pytest.approx(one.value)


def test_two_samples_add_their_variances() -> None:
    labels, scores, patients = cohort(6)
    other, values, owners = cohort(7, n=60)
    found = delong_test_unpaired((labels, scores), (other, values), patients=(patients, owners))
    one, two = delong(labels, scores, patients), delong(other, values, owners)
    assert found.standard_error == pytest.approx(math.hypot(one.standard_error, two.standard_error))
    assert found.value == two.value - one.value
    assert found.degrees < len(set(patients)) + len(set(owners))
    faultless = delong_test_unpaired((labels, labels), (other, values))
    assert faultless.reason == "not estimable: an AUROC of 0 or 1 has no variance"


def test_what_is_refused() -> None:
    labels, scores, patients = cohort()
    with pytest.raises(ValueOutOfRange, match="expected one of logit, plain"):
        delong(labels, scores, scale="probit")
    with pytest.raises(ShapeMismatch, match="one patient a case"):
        delong(labels, scores, patients[:-1])
    with pytest.raises(ValueOutOfRange, match="NaN where the label is known"):
        delong_test(labels, scores, np.full(80, np.nan))
