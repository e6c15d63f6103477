"""What a bundle answers to a set of films, as arrays, beside what is known of them.

Every answer comes from `Predictor.predict_batch`, the code behind `vesalius predict`: an audit of anything else would
be an audit of something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from vesalius.types import Decision, Reason

if TYPE_CHECKING:
    import pandas as pd

    from vesalius.bundle.predictor import Predictor
    from vesalius.datasets.store import Store
    from vesalius.types import Image, Prediction

BATCH = 16
CODES = {Decision.PRESENT: 1, Decision.ABSENT: 0, Decision.ABSTAIN: -1}


@dataclass(frozen=True)
class Answers:
    """What was said of some films, and, where they come from a store, what is known.

    Attributes:
        logits: Of the network, uncalibrated; NaN for a film it was not asked about (a lateral, say).
        probabilities: Calibrated; NaN where none was given.
        decisions: 1 present, 0 absent, -1 no answer.
        reasons: A `Reason` where there is no answer, else the empty word.
        ood_scores: Higher is more foreign; NaN without a gate.
        flagged: Stopped by the gate.
        rows: Row of the store each film came from.
        labels: 1, 0, NaN unknown or uncertain.
        patients: Keyed hash of each film's patient.
    """

    logits: Float64[np.ndarray, "case finding"]
    probabilities: Float64[np.ndarray, "case finding"]
    decisions: Int64[np.ndarray, "case finding"]
    reasons: Shaped[np.ndarray, "case finding"]
    ood_scores: Float64[np.ndarray, " case"]
    flagged: Bool[np.ndarray, " case"]
    rows: Int64[np.ndarray, " case"]
    labels: Float64[np.ndarray, "case finding"]
    patients: Shaped[np.ndarray, " case"]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def assessed(self) -> Bool[np.ndarray, " case"]:
        """Films the bundle can judge: a probability for every finding, and a frontal film good enough to read."""
        obstacle = np.isin(self.reasons, [str(Reason.NOT_ASSESSABLE), str(Reason.POOR_QUALITY)]).any(axis=1)
        kept: Bool[np.ndarray, " case"] = np.isfinite(self.probabilities).all(axis=1) & ~obstacle
        return kept

    @property
    def normal(self) -> Bool[np.ndarray, " case"]:
        """Films whose every label is known, and every one absent."""
        kept: Bool[np.ndarray, " case"] = (self.labels == 0).all(axis=1)
        return kept

    def take(self, chosen: Shaped[np.ndarray, " chosen"]) -> Answers:
        """Returns the chosen films, by mask or by number."""
        return replace(self, **{name: value[chosen] for name, value in vars(self).items()})


def answer_store(predictor: Predictor, store: Store, rows: Int64[np.ndarray, " case"], tick: Callable[[int], None]) -> Answers:
    """Returns the bundle's answers to those rows of the store; `tick(n)` is called as films are done."""
    predictions = predict_all(predictor, (store.image(int(row)) for row in rows), tick)
    return as_answers(predictions, predictor.findings, rows, truth(store, predictor.findings)[rows], store.manifest)


def predict_all(predictor: Predictor, films: Iterable[Image], tick: Callable[[int], None]) -> list[Prediction]:
    """Returns one prediction a film, asked in batches, so that memory stays flat in the number of films."""
    predictions: list[Prediction] = []
    for batch in _batches(films):
        predictions += predictor.predict_batch(batch)
        tick(len(batch))
    return predictions


def _batches(films: Iterable[Image]) -> Iterator[list[Image]]:
    batch: list[Image] = []
    for film in films:
        batch.append(film)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def truth(store: Store, findings: Sequence[str]) -> Float64[np.ndarray, "case finding"]:
    """Returns labels of every film of the store as 1, 0, NaN; a finding the store has no column for is unknown throughout."""
    from vesalius.metrics import known_labels

    columns = np.full((len(store), len(findings)), np.nan)
    known = [name for name in findings if name in store.findings]
    if known:
        columns[:, [list(findings).index(name) for name in known]] = known_labels(store.labels(known))
    return columns


def as_answers(
    predictions: Sequence[Prediction],
    findings: Sequence[str],
    rows: Int64[np.ndarray, " case"],
    labels: Float64[np.ndarray, "case finding"],
    manifest: pd.DataFrame,
) -> Answers:
    """Returns predictions as arrays; a film that failed has no answer to anything, for poor quality."""
    shape = (len(predictions), len(findings))
    logits, probabilities = np.full(shape, math.nan), np.full(shape, math.nan)
    decisions, reasons = np.full(shape, -1), np.full(shape, str(Reason.POOR_QUALITY), dtype=object)
    scores, flagged = np.full(shape[0], math.nan), np.zeros(shape[0], dtype=bool)
    for case, prediction in enumerate(predictions):
        for column, finding in enumerate(prediction.findings):
            logits[case, column] = _number(finding.logit)
            probabilities[case, column] = _number(finding.probability)
            decisions[case, column] = CODES[finding.decision or Decision.ABSTAIN]
            reasons[case, column] = "" if finding.reason is None else str(finding.reason)
        if prediction.ood is not None:
            scores[case], flagged[case] = prediction.ood.score, prediction.ood.out
    patients = manifest["patient_id"].to_numpy(dtype=object)[rows]
    return Answers(logits, probabilities, decisions, reasons, scores, flagged, rows, labels, patients)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
