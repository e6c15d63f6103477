"""Scores from logits: what each form calls foreign, and what none of them lets pass."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auroc
from vesalius.uncertainty import Energy, MaxLogit, MaxProbability, detector_from_state

MAKERS = [
    Energy,
    lambda: Energy(centred=True, temperature=2.0),
    lambda: Energy(form="softmax", temperature=0.5),
    MaxLogit,
    MaxProbability,
    lambda: MaxProbability(form="softmax", temperature=3.0),
]


def films(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Logits of +3 for present and -3 for absent, a little spread, and labels; two in three films are normal."""
    random = np.random.default_rng(0)
    labels = (random.random((n, 4)) < 0.1).astype(float)
    return 6 * labels - 3 + random.normal(0, 0.7, labels.shape), labels


@pytest.mark.parametrize("score", [Energy(), MaxLogit(), MaxProbability()])
def test_evidence_of_many_labels_takes_normal_films_for_foreign(score: Energy) -> None:
    logits, labels = films()
    normal = (labels.sum(axis=1) == 0).astype(float)
    assert auroc(normal, score.fit(None, logits, labels).score(None, logits)) > 0.95


def test_the_centred_energy_does_not_and_still_sees_the_unsure() -> None:
    logits, labels = films()
    normal = (labels.sum(axis=1) == 0).astype(float)
    energy = Energy(centred=True).fit(None, logits, labels)
    assert auroc(normal, energy.score(None, logits)) == pytest.approx(0.5, abs=0.05)
    unsure = np.random.default_rng(1).normal(0, 0.7, logits.shape)
    foreign = np.r_[np.zeros(len(logits)), np.ones(len(unsure))]
    assert auroc(foreign, energy.score(None, np.concatenate([logits, unsure]))) > 0.99


def test_logsumexp_ignores_the_state_absent() -> None:
    """Ten findings, each surely absent: the softmax energy cannot tell that from ten unsure ones two units higher."""
    absent, unsure = np.full((1, 10), -6.0), np.zeros((1, 10))
    change = Energy(form="softmax").score(None, absent) - Energy(form="softmax").score(None, unsure)
    assert change[0] == pytest.approx(6.0)  # a shift of the logits, nothing else
    joint = Energy().score(None, unsure)[0]
    assert joint == pytest.approx(-10 * np.log(2))
    assert Energy().score(None, absent)[0] == pytest.approx(0, abs=0.05)


def test_by_hand() -> None:
    z = np.array([[1.0, 2.0, 4.0]])
    assert Energy(form="softmax").score(None, z)[0] == pytest.approx(-np.log(np.exp(1) + np.exp(2) + np.exp(4)))
    assert MaxLogit().score(None, z)[0] == -4.0
    assert MaxProbability().score(None, z)[0] == pytest.approx(-1 / (1 + np.exp(-4)))
    softmax = np.exp(4) / (np.exp(1) + np.exp(2) + np.exp(4))
    assert MaxProbability(form="softmax").score(None, z)[0] == pytest.approx(-softmax)


@pytest.mark.parametrize("make", MAKERS)
def test_far_logits_do_not_overflow(make: type) -> None:
    z = np.array([[1e6, -1e6], [-1e6, -1e6], [5e5, 5e5]])
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(make().fit(None, z).score(None, z)).all()


@pytest.mark.parametrize("make", MAKERS)
def test_state_and_options_are_exact(make: type) -> None:
    logits, labels = films(40)
    score = make().fit(None, logits, labels)
    again = detector_from_state(score.state(), json.loads(json.dumps(score.to_json())))
    assert np.array_equal(again.score(None, logits), score.score(None, logits))
    assert again.to_json() == score.to_json()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_most_foreign(make: type, bad: float) -> None:
    logits, labels = films(40)
    score = make().fit(None, logits, labels)
    logits[3, 1] = bad
    found = score.score(None, logits)
    assert found[3] == np.inf
    assert np.isfinite(np.delete(found, 3)).all()
    assert score.score(None, logits[:0]).shape == (0,)


def test_unknown_labels_place_no_middle() -> None:
    logits, labels = films()
    hidden = labels.copy()
    hidden[:300] = np.nan
    energy = Energy(centred=True)
    kept = energy.fit(None, logits[300:], labels[300:]).state()["centre"]
    assert np.array_equal(energy.fit(None, logits, hidden).state()["centre"], kept)
    hidden[300:] = -1
    assert not energy.fit(None, logits, hidden).state()["centre"].any()


def test_wrong_use() -> None:
    logits, labels = films(10)
    for wrong in (
        {"form": "triple"},
        {"temperature": 0.0},
        {"temperature": np.nan},
        {"form": "softmax", "centred": True},
    ):
        with pytest.raises(ValueOutOfRange):
            Energy(**wrong)
    with pytest.raises(ValueOutOfRange):
        MaxProbability(form="triple")
    with pytest.raises(ShapeMismatch, match="one label a finding"):
        Energy(centred=True).fit(None, logits, labels[:, :2])
    with pytest.raises(ShapeMismatch, match=r"fitted on \(case, 4\)"):
        Energy(centred=True).fit(None, logits, labels).score(None, logits[:, :2])
    with pytest.raises(ShapeMismatch, match="expected"):
        MaxLogit().score(None, logits[:, 0])
    with pytest.raises(NotFitted, match="call fit"):
        Energy(centred=True).score(None, logits)
    with pytest.raises(ValueOutOfRange, match="newer version"):
        detector_from_state({}, {"kind": "magic"})
