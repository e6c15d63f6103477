"""From what networks say of the calibration split to everything that is locked in a bundle.

One order, here and in every answer: logits are averaged over members and views, calibrated, held against a threshold,
withheld inside a band around it, and overruled by the out-of-distribution gate. Each step is fitted on what the step before
gives, on the calibration split only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float64, Shaped

from vesalius.errors import BundleError, EmptyInput, ValueOutOfRange

if TYPE_CHECKING:
    from vesalius.inference.film import NetworkOutput
    from vesalius.uncertainty import DecisionPolicy, OodGate, SelectedCalibrator
    from vesalius.uncertainty.class_decisions import ClassPolicy, SelectedClassCalibrator

Rule = Literal["f1", "youden", "sensitivity"]


@dataclass(frozen=True)
class CalibrationOptions:
    """How the calibration split is turned into rules.

    Attributes:
        coverage: Share of calibration cases that each finding must go on answering, in (0, 1].
        threshold_rule: f1, youden or sensitivity=SHARE.
        ood_scores: Scores of the gate, see `uncertainty.OodGate`.
        ood_quantile: Share of new films of the same kind that the gate lets through.
        seed: Of the folds of cross-validation.
        target_risk: Replaces `coverage`: greatest share of wrong answers.
        guarantee: Confidence of a promise of `target_risk`, or of the rule's sensitivity; None: what was seen.
    """

    coverage: float = 0.9
    threshold_rule: str = "f1"
    ood_scores: tuple[str, ...] = ("mahalanobis",)
    ood_quantile: float = 0.99
    seed: int = 0
    target_risk: float | None = None
    guarantee: float | None = None

    def rule(self) -> tuple[Rule, float]:
        """Returns the rule's name and the sensitivity it aims at.

        Raises:
            ValueOutOfRange: An unknown rule, or a share outside (0, 1).
        """
        name, _, share = self.threshold_rule.partition("=")
        if name in {"f1", "youden"} and not share:
            return ("f1" if name == "f1" else "youden"), 0.9
        try:
            target = float(share)
        except ValueError:
            target = -1.0
        if name != "sensitivity" or not 0 < target < 1:
            raise ValueOutOfRange(f"threshold rule {self.threshold_rule!r}; expected f1, youden, or sensitivity=0.95")
        return "sensitivity", target


@dataclass(frozen=True)
class Calibration:
    """What was fitted on the calibration split.

    Attributes:
        table: One row a finding, plain numbers: how many cases, which calibrator, held-out NLL (nats) before and after,
            threshold, band, coverage, notes.
    """

    calibrator: SelectedCalibrator | SelectedClassCalibrator
    policy: DecisionPolicy | ClassPolicy
    gate: OodGate
    table: list[dict[str, Any]] = field(default_factory=list)


def calibrate(
    output: NetworkOutput,
    labels: Float64[np.ndarray, "case finding"],
    patients: Shaped[np.ndarray, " case"],
    findings: Sequence[str],
    options: CalibrationOptions = CalibrationOptions(),
    *,
    classes: bool = False,
) -> Calibration:
    """Fits calibrators, thresholds, abstention and gate, in that order.

    A finding with few cases falls back to what they carry, and its notes say so; one of a single class is never answered.

    Args:
        output: Of the networks on the calibration split.
        labels: 1, 0, NaN unknown or uncertain.
        patients: Whole patients stay together in cross-validation.
        findings: Names, in the order of the logits.
        options: Rules to fit by.
        classes: The findings exclude each other: one softmax, and the likeliest class or no answer (`uncertainty.class_decisions`).

    Raises:
        EmptyInput: No film, no known label, or too few patients for the gate; calibrate on more films.
        ValueOutOfRange: An option out of its range, or a logit that is not finite.
    """
    if not len(output.logits):
        raise EmptyInput("no film in the calibration split; ingest more films or name other sites with --sites")
    calibrator, policy, gate = unfitted(options, classes=classes)
    calibrator.fit(output.logits, labels, patients)
    probabilities = calibrator.calibrate(output.logits)
    policy.fit(probabilities, labels, patients)
    gate.fit(output.features, output.logits, labels=labels, patients=patients)
    kept = policy.decide(probabilities) >= 0
    rows = [_row(name, index, calibrator, policy) for index, name in enumerate(findings)]
    for index, row in enumerate(rows):
        known = ~np.isnan(labels[:, index])
        row["coverage"] = float(kept[known, index].mean()) if known.any() else None
    return Calibration(calibrator, policy, gate, rows)


def unfitted(
    options: CalibrationOptions, *, classes: bool = False
) -> tuple[SelectedCalibrator | SelectedClassCalibrator, DecisionPolicy | ClassPolicy, OodGate]:
    """Returns calibrator, policy and gate, to be fitted; so options are checked before hours of work.

    Raises:
        ValueOutOfRange: An option out of its range, or one that classes cannot have.
    """
    from vesalius.uncertainty import OodGate

    if not 0 < options.coverage <= 1:
        raise ValueOutOfRange(f"coverage is {options.coverage}; expected a share above 0 and at most 1")
    gate = OodGate(options.ood_scores, quantile=options.ood_quantile, seed=options.seed)  # type: ignore[arg-type]  # it checks the names
    return *(_class_rules(options) if classes else _rules(options)), gate


def _rules(options: CalibrationOptions) -> tuple[SelectedCalibrator, DecisionPolicy]:
    from vesalius.uncertainty import DecisionPolicy, SelectedCalibrator

    rule, sensitivity = options.rule()
    policy = DecisionPolicy(
        rule,
        coverage=options.coverage,
        target_sensitivity=sensitivity,
        target_risk=options.target_risk,
        guarantee=options.guarantee,
    )
    return SelectedCalibrator(seed=options.seed), policy


def _class_rules(options: CalibrationOptions) -> tuple[SelectedClassCalibrator, ClassPolicy]:
    from vesalius.uncertainty.class_decisions import ClassPolicy, SelectedClassCalibrator

    if options.threshold_rule != CalibrationOptions.threshold_rule:
        raise ValueOutOfRange("classes have no thresholds: the likeliest is said, or none is; leave --threshold-rule out")
    if options.guarantee is not None:
        raise ValueOutOfRange(
            "nothing is promised of classes: their temperature is fitted on the same cases and may change their order; "
            "leave --risk-confidence out, or ask them as findings (prompts of kind `pair`)"
        )
    policy = ClassPolicy(coverage=options.coverage, target_risk=options.target_risk)
    return SelectedClassCalibrator(seed=options.seed), policy


def _row(
    name: str, index: int, calibrator: SelectedCalibrator | SelectedClassCalibrator, policy: DecisionPolicy | ClassPolicy
) -> dict[str, Any]:
    chosen = calibrator.selection[index]
    notes = [note for note in (calibrator.notes[index], policy.notes[index]) if note]
    if calibrator.slopes is None or calibrator.intercepts is None:  # fitted just above
        raise BundleError("the calibrator is not fitted; call calibrate again")
    return {
        "finding": name,
        "n": chosen["n"],
        "n_positive": chosen["n_positive"],
        "calibrator": chosen["chosen"],
        "slope": float(calibrator.slopes[index]),
        "intercept": float(calibrator.intercepts[index]),
        "nll_before": chosen["cv_nll"]["identity"],
        "nll_after": chosen["cv_nll"][chosen["chosen"]],
        "rule": policy.rules[index],
        "threshold": float(policy.thresholds[index]),
        "low": float(policy.low[index]),
        "high": float(policy.high[index]),
        "notes": notes,
    }
