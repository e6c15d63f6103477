"""The five stops: who overrules whom, what stays on record, and that they can be seen in one short function."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from tests.bundles import FINDINGS, PREPROCESSING, make_film
from vesalius.bundle.load import load
from vesalius.bundle.predictor import Predictor
from vesalius.inference.film import NetworkOutput
from vesalius.types import Decision, Image, Reason, View


@pytest.fixture(scope="module")
def bundle(locked: Path) -> Predictor:
    return load(locked, device="cpu")


def output_of(bundle: Predictor, logits: list[float], *, features: float | None = None) -> NetworkOutput:
    """What a network might say: given logits, with features of a usual film or far away from all."""
    usual = bundle.inference.run([make_film(103)]).features
    return NetworkOutput(np.array([logits]), usual if features is None else np.full_like(usual, features))


def logits_between(bundle: Predictor) -> list[list[float]]:
    """Logits that mean surely present, surely absent, and on the threshold, for both findings."""
    calibrator = bundle.calibrator

    def invert(probability: float, index: int) -> float:
        return (math.log(probability / (1 - probability)) - calibrator.intercepts[index]) / calibrator.slopes[index]

    wanted = [(0.9999, 0.9999), (0.0001, 0.0001), tuple(bundle.policy.thresholds)]
    return [[invert(p, index) for index, p in enumerate(pair)] for pair in wanted]


def test_the_five_stops_stand_in_one_short_function() -> None:
    source = textwrap.dedent(inspect.getsource(Predictor.predict))
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    body = function.body[1:]  # the docstring is no code
    lines = source.splitlines()[body[0].lineno - 1 :]
    assert len(lines) <= 25
    places = [
        next(at for at, line in enumerate(lines) if f"# {stop}" in line) for stop in ("read", "logits", "calibrate", "decide")
    ]
    assert [*places, next(at for at, line in enumerate(lines) if "# report" in line)] == sorted({*places, places[-1] + 1})


def test_probabilities_come_from_the_calibrator_and_nowhere_else(bundle: Predictor) -> None:
    prediction = bundle.predict(make_film(101), "study/IM1.dcm")
    logits = bundle.inference.run([make_film(101)]).logits[0]
    expected = expit(bundle.calibrator.slopes * logits + bundle.calibrator.intercepts)
    assert prediction.case == "study/IM1.dcm"
    assert prediction.image_id == make_film(101).image_id
    assert prediction.bundle == f"tiny@sha256:{bundle.id[:12]}"
    assert tuple(finding.name for finding in prediction.findings) == FINDINGS == bundle.findings
    for finding, logit, probability in zip(prediction.findings, logits, expected, strict=True):
        assert finding.logit == pytest.approx(logit, abs=1e-6)
        assert finding.probability == pytest.approx(probability, abs=1e-6)
        assert finding.uncertainty == pytest.approx(min(probability, 1 - probability), abs=1e-6)


def test_present_absent_and_uncertain(bundle: Predictor) -> None:
    present, absent, close = (bundle.predict(make_film(103), output=output_of(bundle, logits)) for logits in logits_between(bundle))
    assert {finding.decision for finding in present.findings} == {Decision.PRESENT}
    assert {finding.decision for finding in absent.findings} == {Decision.ABSENT}
    assert {(finding.decision, finding.reason) for finding in close.findings} == {(Decision.ABSTAIN, Reason.UNCERTAIN)}
    assert {finding.reason for finding in present.findings + absent.findings} == {None}


def test_the_gate_overrules_the_surest_answer_and_the_numbers_stay_on_record(bundle: Predictor) -> None:
    sure = logits_between(bundle)[0]
    prediction = bundle.predict(make_film(103), output=output_of(bundle, sure, features=1e4))
    assert prediction.ood is not None
    assert prediction.ood.out
    assert prediction.ood.score > prediction.ood.threshold == bundle.gate.threshold
    for finding in prediction.findings:
        assert (finding.decision, finding.reason) == (Decision.ABSTAIN, Reason.OUT_OF_DISTRIBUTION)
        assert finding.probability == pytest.approx(0.9999)
    assert "unlike the films" in prediction.warnings[-1]


def test_a_network_that_breaks_down_is_out_of_distribution(bundle: Predictor) -> None:
    prediction = bundle.predict(make_film(103), output=output_of(bundle, [math.nan, 1.0]))
    assert prediction.ood is not None
    assert prediction.ood.out
    assert {finding.reason for finding in prediction.findings} == {Reason.OUT_OF_DISTRIBUTION}


def test_a_lateral_film_has_no_probability_at_all(bundle: Predictor) -> None:
    sure = output_of(bundle, logits_between(bundle)[0], features=1e4)
    prediction = bundle.predict(make_film(103, view=View.LATERAL), output=sure)
    for finding in prediction.findings:
        assert (finding.decision, finding.reason) == (Decision.ABSTAIN, Reason.NOT_ASSESSABLE)
        assert finding.probability is None
        assert finding.uncertainty is None
    assert "PA and AP only" in prediction.warnings[-1]


def test_an_unknown_view_is_read(bundle: Predictor) -> None:
    reasons = {finding.reason for finding in bundle.predict(make_film(103, view=None)).findings}
    assert Reason.NOT_ASSESSABLE not in reasons


def test_a_poor_film_gets_no_answer_even_if_the_network_is_sure(bundle: Predictor) -> None:
    two_greys = np.where(make_film(103).pixels > 0.4, 0.7, 0.3).astype(np.float32)
    poor = replace(make_film(103), pixels=two_greys, warnings=("from the reader",))
    prediction = bundle.predict(poor, output=output_of(bundle, logits_between(bundle)[0]))
    assert {finding.reason for finding in prediction.findings} == {Reason.POOR_QUALITY}
    assert prediction.warnings[0] == "from the reader"
    assert "grey levels" in prediction.warnings[1]


def test_evidence_is_kept_when_asked_for(bundle: Predictor) -> None:
    assert bundle.predict(make_film(101)).evidence is None
    evidence = bundle.predict(make_film(101), evidence=True).evidence
    assert evidence is not None
    assert evidence.shape[0] == len(FINDINGS)


def test_what_a_film_looks_like_to_the_network_is_what_the_contract_says(bundle: Predictor) -> None:
    assert bundle.inference.preprocessing == PREPROCESSING
    assert bundle.training_sites == ("A",)
    assert bundle.predict_batch([]) == []


def test_as_many_names_as_films(bundle: Predictor) -> None:
    films: list[Image] = [make_film(101), make_film(102)]
    with pytest.raises(ValueError, match="zip"):
        bundle.predict_batch(films, ["one"])
    assert [answer.case for answer in bundle.predict_batch(films, ["one", "two"])] == ["one", "two"]
