"""The gate: what is foreign is stopped, what is not finite is stopped, and what goes through the bundle stays the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import EmptyInput, NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auroc
from vesalius.uncertainty import Energy, Mahalanobis, OodGate

SCORES = [
    "mahalanobis",
    "two-class",
    "relative",
    "energy",
    "centred-energy",
    "knn",
    "vim",
    "max-logit",
    "max-probability",
    "softmax-energy",
]


def split(seed: int = 0, n: int = 80, dim: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features whose logits are two of their directions, and labels; three in five films are normal."""
    random = np.random.default_rng(seed)
    labels = (random.random((n, 2)) < 0.2).astype(float)
    features = random.normal(size=(n, dim))
    features[:, :2] += 4 * labels - 2
    return features, 2 * features[:, :2], labels


@pytest.mark.parametrize("score", SCORES)
def test_round_trip_is_exact(score: str) -> None:
    features, logits, labels = split()
    gate = OodGate((score, "mahalanobis") if score != "mahalanobis" else (score,)).fit(features, logits, labels=labels)
    arrays = {key: array.copy() for key, array in gate.state().items()}
    assert all(array.dtype == np.float64 for array in arrays.values())
    again = OodGate.from_state(arrays, json.loads(json.dumps(gate.to_json())))
    assert np.array_equal(again.score(features, logits), gate.score(features, logits))
    assert again.threshold == gate.threshold
    assert np.array_equal(again.reference_scores, gate.reference_scores)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_passes(score: str, bad: float) -> None:
    features, logits, labels = split()
    gate = OodGate((score,)).fit(features, logits, labels=labels)
    for broken in ("features", "logits"):
        x, z = features[:2].copy(), logits[:2].copy()
        (x if broken == "features" else z)[0, 1] = bad
        found = gate.score(x, z)
        assert found[0] == np.inf
        assert np.isfinite(found[1])
        assert gate.is_out(x, z)[0]


def test_a_gate_of_classes() -> None:
    """One class a film: class numbers as labels, for the scores that know them; unknown classes are left out."""
    random = np.random.default_rng(0)
    classes = random.integers(3, size=150)
    features = random.normal(size=(150, 12)) + 12 * np.eye(3, 12)[classes]
    logits = 3 * features[:, :3]
    gate = OodGate(("class", "relative", "softmax-energy", "softmax-vim"), quantile=0.9)
    gate.fit(features, logits, labels=np.where(np.arange(150) < 5, -1, classes))
    again = OodGate.from_state(gate.state(), json.loads(json.dumps(gate.to_json())))
    assert np.array_equal(again.score(features, logits), gate.score(features, logits))
    new = random.normal(size=(150, 12)) + 12 * np.eye(3, 12)[classes]
    assert gate.is_out(new, 3 * new[:, :3]).mean() < 0.35
    between = random.normal(size=(150, 12)) + 4
    between[:, 3:] -= 4
    assert gate.is_out(between, 3 * between[:, :3]).mean() > 0.99


def test_a_gate_without_options_loads() -> None:
    """The state as bundles had it before scores had options: arrays of three scores, and no word of how each was made."""
    mean, whitening = np.array([1.0, 2.0]), np.array([[2.0, -1.0], [0.0, 0.5]])
    arrays = {
        "mahalanobis.mean": mean,
        "mahalanobis.whitening": whitening,
        "two-class.mean": mean,
        "two-class.whitening": whitening,
        "two-class.centres": np.array([[[0.0, 0.0], [3.0, 1.0]]]),
        "centred-energy.centre": np.array([0.5]),
        "reference_scores": np.array([0.1, 0.2]),
    }
    scale = {name: {"middle": 1.0, "upper": 3.0, "floor": None} for name in ("mahalanobis", "two-class", "centred-energy")}
    scale["mahalanobis"]["floor"] = 0.01
    old = {"scores": [*scale], "quantile": 0.99, "folds": 10, "seed": 0, "threshold": 1.5, "scale": scale, "note": None}
    gate = OodGate.from_state(arrays, json.loads(json.dumps(old)))
    x, z = np.array([[3.0, 4.0]]), np.array([[2.5]])
    white = (x - mean) @ whitening
    single = (white**2).sum()
    nearer = min(single, ((white - np.array([3.0, 1.0]) @ whitening) ** 2).sum())
    energy = -np.log(2 * np.cosh((2.5 - 0.5) / 2))
    assert gate.score(x, z)[0] == pytest.approx(max((score - 1) / 2 for score in (single, nearer, energy)), rel=1e-12)
    assert gate.threshold == 1.5
    assert OodGate.from_state(gate.state(), gate.to_json()).score(x, z)[0] == gate.score(x, z)[0]


def test_far_features_are_stopped_and_own_ones_pass() -> None:
    features, logits, labels = split(n=120)
    gate = OodGate().fit(features, logits, labels=labels)
    new, new_logits, _ = split(1, n=200)
    assert gate.is_out(new, new_logits).mean() < 0.06
    assert gate.is_out(new + 3, new_logits).all()
    assert gate.is_out(new * 3, new_logits).mean() > 0.99


def test_what_has_no_content_is_stopped_too() -> None:
    """A collapsed network answers a blank image with the mean of all films: distance 0, where no film is."""
    features, logits, _ = split(n=100, dim=48)
    gate = OodGate().fit(features, logits)
    mean = features.mean(axis=0, keepdims=True)
    near = mean + 0.05 * (features - mean)
    assert gate.score(mean, logits[:1])[0] > gate.threshold
    assert gate.is_out(near, logits).all()
    new, new_logits, _ = split(1, n=300, dim=48)
    kept = gate.score(new, new_logits)
    plain = Mahalanobis().fit(features).score(new)
    assert np.allclose(kept, plain, rtol=1e-12)  # no film of the kind is touched


def test_the_two_class_form_keeps_the_normal_films() -> None:
    """With the means of present cases only, as the authors' code for many labels has it, every normal film stands out."""
    features, _, labels = split(n=400)
    new, _, truth = split(1, n=400)
    normal = (truth.sum(axis=1) == 0).astype(float)
    present_only = [((new - features[labels[:, k] == 1].mean(axis=0)) ** 2).sum(axis=1) for k in range(2)]
    assert auroc(normal, np.min(present_only, axis=0)) > 0.8
    assert auroc(normal, Mahalanobis("two-class").fit(features, labels=labels).score(new)) < 0.55


def test_joint_energy_punishes_normal_films_and_the_centred_form_does_not() -> None:
    _, logits, labels = split(n=600)
    normal = (labels.sum(axis=1) == 0).astype(float)
    assert auroc(normal, Energy().score(None, logits)) > 0.95
    assert auroc(normal, Energy(centred=True).fit(logits, logits, labels).score(None, logits)) == pytest.approx(0.5, abs=0.07)
    unsure = np.zeros((1, 2))
    assert Energy(centred=True).fit(logits, logits, labels).score(None, unsure)[0] > np.quantile(
        Energy(centred=True).fit(logits, logits, labels).score(None, logits), 0.95
    )


def test_threshold_is_an_order_statistic_of_cross_fitted_scores() -> None:
    features, logits, _ = split(n=40)
    patients = np.arange(40) // 2
    gate = OodGate(quantile=0.9, folds=20, seed=1).fit(features, logits, patients=patients)
    for index in range(40):
        rest = patients != patients[index]
        expected = Mahalanobis().fit(features[rest]).score(features[index : index + 1])[0]
        assert gate.reference_scores[index] == pytest.approx(expected, rel=1e-9)
    assert gate.threshold == np.sort(gate.reference_scores)[36]  # the 37th of 40: 41 x 0.9 rounded up
    assert gate.note is None


def test_in_sample_scores_are_too_small() -> None:
    features, logits, _ = split(n=60, dim=48)
    gate = OodGate().fit(features, logits)
    inside = gate.score(features, logits)
    assert np.median(gate.reference_scores) > 1.2 * np.median(inside)


def test_few_cases_say_so() -> None:
    features, logits, _ = split(n=40)
    gate = OodGate().fit(features, logits)
    assert gate.threshold == gate.reference_scores.max()
    assert "40 cases cannot hold a quantile of 0.99" in gate.note
    with pytest.raises(EmptyInput, match="fewer than four patients"):
        OodGate().fit(features, logits, patients=np.arange(40) % 3)


def test_joined_scores_flag_what_either_flags() -> None:
    features, logits, labels = split(n=200)
    gate = OodGate(("mahalanobis", "centred-energy")).fit(features, logits, labels=labels)
    assert gate.is_out(features + 4, logits).all()
    calm = features.copy()
    calm[:, :2] = 0
    assert gate.score(calm, logits * 0).mean() > gate.score(features, logits).mean() + 0.5


def test_mahalanobis_refuses_what_it_cannot_estimate() -> None:
    features, _, labels = split(n=20, dim=24)
    with pytest.raises(NotEstimable, match="20 cases for 24 dimensions"):
        Mahalanobis(shrinkage=None).fit(features)
    with pytest.raises(NotEstimable, match="no spread"):
        Mahalanobis().fit(np.ones((10, 3)))
    with pytest.raises(NotEstimable, match="two cases"):
        Mahalanobis().fit(features[:1])
    with pytest.raises(NotEstimable, match="needs labels"):
        Mahalanobis("two-class").fit(features)
    with pytest.raises(NotEstimable, match="no known label"):
        Mahalanobis("two-class").fit(features, labels=np.full_like(labels, np.nan))
    with pytest.raises(ValueOutOfRange, match="not finite"):
        Mahalanobis().fit(np.full((10, 3), np.nan))
    assert np.isfinite(Mahalanobis(shrinkage=0.1).fit(features).score(features)).all()


def test_one_class_finding_still_has_a_mean() -> None:
    features, _, labels = split()
    labels[:, 1] = 0
    assert np.isfinite(Mahalanobis("two-class").fit(features, labels=labels).score(features)).all()


def test_rows_are_scored_alike_in_any_batch() -> None:
    features, _, _ = split(n=60)
    detector = Mahalanobis().fit(features)
    many = np.tile(features, (80, 1))
    assert np.allclose(detector.score(many), np.tile(detector.score(features), 80), rtol=1e-12)
    assert detector.score(features[:0]).shape == (0,)


def test_wrong_use() -> None:
    features, logits, _ = split()
    for call in (
        lambda: OodGate().score(features, logits),
        lambda: OodGate().to_json(),
        lambda: Mahalanobis().score(features),
        lambda: Mahalanobis().state(),
        lambda: Energy().state(),
        lambda: Energy(centred=True).score(None, logits),
    ):
        with pytest.raises(NotFitted, match="call fit"):
            call()
    with pytest.raises(ShapeMismatch, match=r"fitted on \(case, 24\)"):
        OodGate().fit(features, logits).score(features[:, :3], logits)
    with pytest.raises(ValueOutOfRange, match="not finite"):
        OodGate().fit(features * np.nan, logits)
    with pytest.raises(ShapeMismatch, match="one row of labels a case"):
        OodGate().fit(features, logits, labels=np.zeros((3, 2)))
    for wrong in ({"scores": ("odin",)}, {"scores": ()}, {"quantile": 1.0}):
        with pytest.raises(ValueOutOfRange):
            OodGate(**wrong)
    with pytest.raises(ValueOutOfRange):
        Mahalanobis("triple")


@pytest.mark.parametrize("n", [20, 40, 100])
def test_the_films_a_gate_was_fitted_on_are_not_too_near_for_it(n: int) -> None:
    """They lie nearer to its mean than any new film; a user who predicts a whole cohort meets them again."""
    random = np.random.default_rng(n)
    x, z = random.normal(size=(n, 128)), random.normal(size=(n, 3))
    gate = OodGate().fit(x, z, patients=np.arange(n))
    assert not gate.is_out(x, z).any()
    collapsed = 0.01 * random.normal(size=(50, 128))
    assert gate.is_out(collapsed, np.zeros((50, 3))).all()
