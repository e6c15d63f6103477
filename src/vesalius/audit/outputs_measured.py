"""Outputs with what a rule says of them, where no case is measured by a rule that it helped to fit.

With a split column the rule is fitted on "calibration" and measured on "test". Without one the patients are dealt into folds, and
each fold is answered by a rule that was fitted on the others (cross-fitting); the rule that is handed out is fitted on all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int8
from scipy.special import expit

from vesalius.audit.decision_rule import DecisionRule, RuleOptions
from vesalius.audit.outputs import Outputs
from vesalius.errors import EmptyInput, NotEstimable, OutputsError

FOLDS = 5
GATE_FOLDS = 4  # inside each fitting: the fewest that an out-of-distribution gate takes
Table = Float64[np.ndarray, "case finding"]


@dataclass(frozen=True)
class Measured:
    """The cases that are measured, and what rules that never saw their patients say of them.

    Attributes:
        outputs: Those cases.
        probabilities: Calibrated.
        thresholds: Of the rule that answered each case.
        decisions: 1 present, 0 absent, -1 no answer.
        doubts: Measures of uncertainty by name, higher = less sure; see `doubts`.
        rule: The rule to hand out.
        temperatures: Of each finding, fitted on the cases behind `rule`; 1 if nothing is calibrated.
        how: In words and numbers, how cases were kept apart.
        notices: What a reader should know.
    """

    outputs: Outputs
    probabilities: Table
    thresholds: Table
    decisions: Int8[np.ndarray, "case finding"]
    doubts: dict[str, Table]
    rule: DecisionRule
    temperatures: Float64[np.ndarray, " finding"]
    how: dict[str, Any]
    notices: tuple[str, ...] = ()


def measure(outputs: Outputs, options: RuleOptions) -> Measured:
    """Fits and answers.

    Raises:
        OutputsError: A split without cases to fit on or to measure, or fewer than two patients without a split.
    """
    from vesalius.uncertainty.calibration import Temperature

    fitting, notices = outputs, list(_notices(outputs))
    if outputs.split is not None:
        fitting, measured, how = _parted(outputs)
        parts: Iterator[tuple[Outputs, Bool[np.ndarray, " case"]]] = iter([(fitting, np.ones(len(measured), dtype=bool))])
    else:
        measured, (folds, how) = outputs, _folds(outputs, options.seed)
        parts = ((outputs.take(folds != index), folds == index) for index in range(folds.max() + 1))
    shape = measured.logits.shape
    probabilities, thresholds = np.full(shape, np.nan), np.full(shape, np.nan)
    decisions = np.full(shape, -1, dtype=np.int8)
    found: dict[str, Table] = {}
    for seen, held in parts:
        rule, here = DecisionRule.fit(seen, options, gate=False), measured.take(held)
        answers = rule.answer(here)
        p = here.probabilities if options.method == "none" else answers.probabilities
        probabilities[held], decisions[held], thresholds[held] = p, answers.decisions, rule.policy.thresholds
        measures, left_out = doubts(rule, seen, here, p)
        notices += [word for word in left_out if word not in notices]
        for name, values in measures.items():
            found.setdefault(name, np.full(shape, np.nan))[held] = values
    rule = DecisionRule.fit(fitting, options)
    temperatures = np.ones(shape[1])
    if options.method != "none":
        temperatures = Temperature(per_label=True).fit(fitting.logits, fitting.labels).temperatures
    if outputs.features is not None and rule.gate is None:
        notices.append("no out-of-distribution gate: the features do not vary, or there are too few patients; they were not used")
    return Measured(measured, probabilities, thresholds, decisions, found, rule, temperatures, how, tuple(notices))


def _notices(outputs: Outputs) -> Iterator[str]:
    yield from outputs.notices
    if outputs.patients is None:
        yield (
            "no patient_id: each case counts as a patient of its own. If some patients have several cases, every interval is too "
            "narrow, and the same patient may stand on both sides of a split"
        )
    elif outputs.split is not None:
        calibration, test = (set(outputs.patients[outputs.split == word]) for word in ("calibration", "test"))
        if calibration & test:
            yield (
                f"{len(calibration & test)} patients have cases both in calibration and in test: the figures are too good; "
                "split by patient"
            )


def _parted(outputs: Outputs) -> tuple[Outputs, Outputs, dict[str, Any]]:
    assert outputs.split is not None
    fitting, measured = (outputs.take(outputs.split == word) for word in ("calibration", "test"))
    for part, word, other in ((fitting, "calibration", "test"), (measured, "test", "calibration")):
        if not np.isfinite(part.labels).any():
            rest = len(outputs) - len(part)
            raise OutputsError(
                f"{outputs.file} has {len(part)} cases of split {word!r}, none with a known label, and {rest} of {other!r}; "
                "both are needed: fill them in, or remove the column to cross-fit"
            )
    words = f"fitted on the {len(fitting)} cases of split calibration, measured on the {len(measured)} of split test"
    return fitting, measured, {"kind": "split", "folds": None, "n_fitted": len(fitting), "words": words}


def _folds(outputs: Outputs, seed: int) -> tuple[Any, dict[str, Any]]:
    from vesalius.uncertainty.folds import patient_folds

    folds = patient_folds(outputs.patients, outputs.labels, folds=FOLDS, seed=seed)
    n = int(folds.max()) + 1
    if n < 2:
        raise OutputsError(f"{outputs.file} has one patient; nothing fitted on it could be measured on anyone else: add patients")
    for index in range(n):
        if np.isnan(outputs.labels[folds != index]).all():
            raise OutputsError(f"{outputs.file}: all known labels are of one patient; cross-fitting needs more: label more cases")
    words = (
        f"no split column: each of {n} folds of patients is measured by a rule fitted on the other {n - 1} (cross-fitting); "
        "the rule handed out is fitted on all"
    )
    return folds, {"kind": "cross-fitted", "folds": n, "n_fitted": len(outputs), "words": words}


def doubts(rule: DecisionRule, seen: Outputs, held: Outputs, p: Table) -> tuple[dict[str, Table], list[str]]:
    """Every measure of uncertainty that the file allows, for the held cases, higher = less sure; and what was left out of which.

    `softmax_distance`: min(q, 1 - q) of the calibrated probability after its threshold was moved to 0.5 (in logits), so that calls
    near the threshold are the least sure. `ensemble_spread`: standard deviation of the members' probabilities. `ood_distance`:
    Mahalanobis distance of the features from those seen. `combination`: each standardised on the seen cases, and averaged.
    """
    from vesalius.uncertainty.ensembles import std_of_probabilities

    thresholds = rule.policy.thresholds
    here = {"softmax_distance": _softmax_distance(p, thresholds)}
    there = {"softmax_distance": _softmax_distance(rule.calibrator.calibrate(seen.logits), thresholds)}
    if held.member_logits is not None and seen.member_logits is not None:
        here["ensemble_spread"] = std_of_probabilities(expit(held.member_logits))
        there["ensemble_spread"] = std_of_probabilities(expit(seen.member_logits))
    distances = _distances(seen, held, rule.options.seed)
    if distances is not None:
        here["ood_distance"], there["ood_distance"] = distances
    if len(here) == 1:
        return here, []
    combined, left_out = _combined(there, here, rule.findings)
    return here | {"combination": combined}, left_out


def _softmax_distance(p: Table, thresholds: Float64[np.ndarray, " finding"]) -> Table:
    from vesalius.audit.outputs import to_logits
    from vesalius.uncertainty.hard_answers import softmax_distance

    distance: Table = softmax_distance(expit(to_logits(p) - to_logits(thresholds)))
    return distance


def _distances(seen: Outputs, held: Outputs, seed: int) -> tuple[Table, Table] | None:
    from vesalius.uncertainty import OodGate

    if seen.features is None or held.features is None:
        return None
    zeros = [np.zeros((len(part), 0)) for part in (seen, held)]  # this score looks at features alone
    try:
        gate = OodGate(folds=GATE_FOLDS, seed=seed).fit(seen.features, zeros[0], patients=seen.patients)
    except (EmptyInput, NotEstimable):
        return None
    assert gate.reference_scores is not None
    wide = seen.labels.shape[1]
    scores = gate.score(held.features, zeros[1])
    return np.repeat(scores[:, None], wide, axis=1), np.repeat(gate.reference_scores[:, None], wide, axis=1)


def _combined(there: Mapping[str, Table], here: Mapping[str, Table], findings: Sequence[str]) -> tuple[Table, list[str]]:
    from vesalius.uncertainty.combination import Combination

    columns, left_out = [], []
    for index, name in enumerate(findings):
        combination = Combination()
        try:
            combination.fit({key: table[:, index] for key, table in there.items()})
        except NotEstimable:  # nothing varies on the seen cases, so nothing can be told apart
            columns.append(np.zeros(len(here["softmax_distance"])))
            continue
        columns.append(combination.score({key: table[:, index] for key, table in here.items()}))
        left_out += [f"{name}: {key} was left out of the combination, {why}" for key, why in combination.dropped.items()]
    return np.column_stack(columns), left_out
