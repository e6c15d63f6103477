"""Everything `vesalius uq` says of a file of outputs, as one document of plain numbers and words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from vesalius.audit.answered import Given, describe_answered, describe_called, open_ends
from vesalius.audit.curves import histogram, reliability_bins, risk_coverage_points, roc_points
from vesalius.audit.decision_rule import DecisionRule, RuleOptions
from vesalius.audit.outputs import Outputs
from vesalius.audit.outputs_measured import Measured, measure
from vesalius.audit.outputs_source import listed
from vesalius.errors import OutputsError, ValueOutOfRange
from vesalius.types import ProgressCallback

FORMAT, FORMAT_VERSION = "vesalius.uq", 1
CONTRACT = ("auroc", "auprc", "ece", "ece_uncalibrated", "brier", "aurc", "augrc")
MORE = ("brier_uncalibrated", "brier_change", "nll", "nll_uncalibrated", "nll_change", "overprediction")
DETECTION = ("auroc", "augrc", "aurc")
WORST_EACH = 5
MINIMUM_CASES = 10
NOT_GROUPS = ("patient_id", "split")


@dataclass(frozen=True)
class EvaluationSettings:
    """How outputs are evaluated.

    Attributes:
        rule: How the decision rule is made.
        by: Columns that split cases into subgroups.
        resamples: Draws of patients behind every interval.
        seed: Same seed, same numbers.
        bins: Of the expected calibration error.
    """

    rule: RuleOptions = field(default_factory=RuleOptions)
    by: tuple[str, ...] = ()
    resamples: int = 1000
    seed: int = 0
    bins: int = 15


@dataclass(frozen=True)
class OutputsResult:
    """What was found.

    Attributes:
        document: What is written as uq.json; docs/uq.md describes it.
        rule: The decision rule, fitted on the calibration cases (on all, if cross-fitted).
    """

    document: dict[str, Any]
    rule: DecisionRule

    def contract(self) -> dict[str, Any]:
        """Returns the object of `--json`: the document without the points that only figures need."""
        findings = {
            name: {key: value for key, value in one.items() if key != "curves"} for name, one in self.document["findings"].items()
        }
        return {**self.document, "findings": findings}


def evaluate_outputs(
    outputs: Outputs, settings: EvaluationSettings = EvaluationSettings(), progress: ProgressCallback | None = None
) -> OutputsResult:
    """Calibrates, measures and decides; no case is measured by a rule that it helped to fit.

    Args:
        outputs: What the model said.
        settings: How it is evaluated.
        progress: Called as the steps are done: the fits, the figures, and each finding's detection of failures.

    Raises:
        OutputsError: A split without cases on one side, or a subgroup column that the file does not have.
        ValueOutOfRange: An option out of its range.
    """
    started = time.monotonic()
    _check(outputs, settings)
    steps = iter(range(1, len(outputs.findings) + 3))

    def tick() -> None:
        if progress is not None:
            progress(next(steps), len(outputs.findings) + 2)

    measured = measure(outputs, settings.rule)
    tick()
    tables = _tables(measured, settings, tick)
    findings = {name: _finding(measured, tables[name], index, settings) for index, name in enumerate(outputs.findings)}
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "findings": findings,
        "macro": tables["macro"],
        "file": _file(outputs, measured),
        "how": {**measured.how, **asdict(settings.rule), "bins": settings.bins},
        "notices": [*measured.notices, *_rule_notices(measured)],
        "rule": _rule_rows(measured.rule),
        "subgroups": _subgroups(measured, settings),
        "worst": _worst(measured),
        "made": _made(settings, started),
    }
    return OutputsResult(document, measured.rule)


def _check(outputs: Outputs, settings: EvaluationSettings) -> None:
    if settings.resamples < 2 or settings.bins < 1:
        raise ValueOutOfRange(f"resamples {settings.resamples}, bins {settings.bins}; expected two resamples or more, and a bin")
    missing = [name for name in settings.by if name not in outputs.columns]
    if missing:
        raise OutputsError(
            f"{outputs.file} has no column {missing[0]!r} for --by; it has: {listed(list(outputs.columns))} "
            "beside labels and outputs"
        )


def _tables(measured: Measured, settings: EvaluationSettings, tick: Callable[[], None]) -> dict[str, dict[str, Any]]:
    """Every interval of every finding and macro, all on the same resamples of patients."""
    from vesalius.uncertainty import EvaluationOptions, evaluate

    outputs, names = measured.outputs, list(measured.outputs.findings)
    options = EvaluationOptions(resamples=settings.resamples, seed=settings.seed, bins=settings.bins)
    found = evaluate(
        measured.probabilities, outputs.labels, outputs.patients, outputs.logits, findings=names, options=options
    ).to_json()
    tables: dict[str, dict[str, Any]] = {**found["findings"], "macro": found["macro"]}
    given = _given(measured)
    plan = given.plan(settings.resamples, settings.seed)
    for more in (_ranking(measured, settings), _uncalibrated(measured, settings, plan)):
        for name, figures in more.items():
            tables[name] |= figures
    called, answered = describe_called(given, names, plan), describe_answered(given, names, plan)
    for name, table in tables.items():
        rates = called[name] | answered[name]
        table["at_rule"] = rates if name == "macro" else open_ends(rates, given, names.index(name))
    tick()
    failures = _failure_detection(measured, settings, tick)
    for name, table in tables.items():
        table["failure_detection"] = failures[name]
    return tables


def _given(measured: Measured) -> Given:
    outputs = measured.outputs
    called: Bool[np.ndarray, "case finding"] = measured.probabilities >= measured.thresholds
    return Given(outputs.labels, measured.decisions, called, _patients(outputs))


def _patients(outputs: Outputs) -> Any:
    return np.arange(len(outputs)) if outputs.patients is None else outputs.patients


def _ranking(measured: Measured, settings: EvaluationSettings) -> dict[str, dict[str, Any]]:
    """AUROC and AUPRC of the outputs as given: calibrators of different folds would mix the order of their cases."""
    from vesalius.metrics import bootstrap_ranking

    outputs = measured.outputs
    found = bootstrap_ranking(outputs.labels, outputs.logits, outputs.patients, resamples=settings.resamples, seed=settings.seed)
    rows = {
        name: {"auroc": found.auroc[index].to_json(), "auprc": found.auprc[index].to_json()}
        for index, name in enumerate(outputs.findings)
    }
    return rows | {"macro": {"auroc": found.macro_auroc.to_json(), "auprc": found.macro_auprc.to_json()}}


def _uncalibrated(measured: Measured, settings: EvaluationSettings, plan: Any) -> dict[str, dict[str, Any]]:
    """Calibration error and Brier score of the probabilities as given, not by way of their logits."""
    from vesalius.metrics.draws import proper_draws
    from vesalius.metrics.intervals import interval_of, macro_draws

    outputs, of_metric = measured.outputs, ("ece", "brier")
    columns: dict[str, list[Float64[np.ndarray, " draw"]]] = {name: [] for name in of_metric}
    for truth, p in zip(outputs.labels.T, outputs.probabilities.T, strict=True):
        draws = proper_draws(truth, p, plan, settings.bins)
        for name in of_metric:
            columns[name].append(draws[name])
    rows: dict[str, dict[str, Any]] = {name: {} for name in (*outputs.findings, "macro")}
    for metric in of_metric:
        draws_of = [*columns[metric], macro_draws(np.column_stack(columns[metric]))]
        for name, draws_here in zip(rows, draws_of, strict=True):
            interval = interval_of(draws_here, n_patients=plan.n_patients, centred=metric == "ece")
            rows[name][f"{metric}_uncalibrated"] = interval.to_json()
    return rows


def failures_of(measured: Measured) -> Float64[np.ndarray, "case finding"]:
    """1 where the call at the rule's threshold is wrong, 0 where right, NaN where the truth is unknown."""
    from vesalius.uncertainty.curves import decision_residuals

    return decision_residuals(measured.outputs.labels, measured.probabilities, measured.thresholds)


def _failure_detection(measured: Measured, settings: EvaluationSettings, tick: Callable[[], None]) -> dict[str, dict[str, Any]]:
    """Every measure of every finding as a detector of wrong calls, and what it adds to the softmax distance; macro: plain means."""
    from vesalius.uncertainty import failure_detection_table

    failures, outputs = failures_of(measured), measured.outputs
    rows: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(outputs.findings):
        tick()
        if np.isnan(failures[:, index]).all():
            nothing = {"value": None, "low": None, "high": None, "reason": "no known label"}
            rows[name] = {key: dict.fromkeys(DETECTION, nothing) | {"changes": {}} for key in measured.doubts}
            continue
        found = failure_detection_table(
            {key: table[:, index] for key, table in measured.doubts.items()},
            failures[:, index],
            outputs.patients,
            baseline="softmax_distance",
            resamples=settings.resamples,
            seed=settings.seed,
        )
        rows[name] = {row.measure: row.to_json() for row in found}
    macro = {
        key: {figure: _mean([row[key][figure]["value"] for row in rows.values()]) for figure in DETECTION}
        for key in measured.doubts
    }
    return rows | {"macro": macro}


def _mean(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {"value": float(np.mean(known)) if known else None, "low": None, "high": None}


def _finding(measured: Measured, table: Mapping[str, Any], index: int, settings: EvaluationSettings) -> dict[str, Any]:
    head = {"n": table["n"], "n_positive": table["n_positive"], "temperature": float(measured.temperatures[index])}
    contract = {key: table[key] for key in CONTRACT}
    more = {key: table[key] for key in ("n_patients", "prevalence", "ece_null", *MORE, "at_rule", "failure_detection")}
    return {**head, **contract, **more, "kind": measured.outputs.kinds[index], "curves": _curves(measured, index)}


def _curves(measured: Measured, index: int) -> dict[str, Any]:
    outputs = measured.outputs
    known = np.isfinite(outputs.labels[:, index])
    truth, p = outputs.labels[known, index], measured.probabilities[known, index]
    wrong, given = failures_of(measured)[known, index], measured.decisions[known, index] >= 0
    doubts = {name: table[known, index] for name, table in measured.doubts.items()}
    lost = float((measured.decisions[known, index] != truth)[given].mean()) if given.any() else None
    return {
        "reliability": reliability_bins(truth, p),
        "reliability_uncalibrated": reliability_bins(truth, outputs.probabilities[known, index]),
        "roc": roc_points(truth, outputs.logits[known, index]),
        "histogram": histogram(truth, p),
        "risk_coverage": {name: risk_coverage_points(values, wrong) for name, values in doubts.items()},
        "locked": {"coverage": float(given.mean()) if len(given) else None, "risk": lost},
        "failure_roc": {name: roc_points(wrong, values) for name, values in doubts.items()},
    }


def _file(outputs: Outputs, measured: Measured) -> dict[str, Any]:
    return {
        "name": outputs.file,
        "n": len(outputs),
        "n_measured": len(measured.outputs),
        "n_patients": None if outputs.patients is None else len(np.unique(outputs.patients)),
        "place": outputs.place,
        "features": None if outputs.features is None else int(outputs.features.shape[1]),
        "members": None if outputs.member_logits is None else len(outputs.member_logits),
        "columns": list(outputs.columns),
    }


def _rule_notices(measured: Measured) -> list[str]:
    options = measured.rule.options
    if options.target_risk is not None and options.confidence is None:
        return ["the target risk is what was seen in the fitted cases, not a promise; --risk-confidence 0.9 makes one"]
    return []


def _rule_rows(rule: DecisionRule) -> dict[str, dict[str, Any]]:
    policy, notes = rule.policy, rule.calibrator.notes
    return {
        name: {
            "threshold": float(policy.thresholds[index]),
            "low": float(policy.low[index]),
            "high": float(policy.high[index]),
            "chosen_by": policy.rules[index],
            "promise": policy.promises[index],
            "notes": [note for note in (notes[index], policy.notes[index]) if note],
        }
        for index, name in enumerate(rule.findings)
    }


def _subgroups(measured: Measured, settings: EvaluationSettings) -> list[dict[str, Any]]:
    from vesalius.metrics import subgroup_table
    from vesalius.metrics.subgroups import SubgroupOptions

    if not settings.by:
        return []
    outputs = measured.outputs
    # With folds there is no one threshold that none of these cases helped to choose.
    thresholds = measured.rule.policy.thresholds.tolist() if measured.how["kind"] == "split" else None
    rows = subgroup_table(
        outputs.labels,
        measured.probabilities,
        {name: outputs.columns[name].tolist() for name in settings.by},
        outputs.patients,
        findings=list(outputs.findings),
        thresholds=thresholds,
        options=SubgroupOptions(resamples=settings.resamples, seed=settings.seed, minimum_cases=MINIMUM_CASES),
    )
    return [row.to_json() for row in rows]


def _worst(measured: Measured) -> list[dict[str, Any]]:
    """The wrong calls furthest from their threshold, by number only: nothing here says who it is."""
    failures, nearness = failures_of(measured), measured.doubts["softmax_distance"]
    outputs, found = measured.outputs, []
    for index, name in enumerate(outputs.findings):
        wrong = np.flatnonzero(failures[:, index] == 1)
        for case in wrong[np.argsort(nearness[wrong, index], kind="stable")][:WORST_EACH]:
            found.append(
                {
                    "finding": name,
                    "place": int(outputs.places[case]),
                    "truth": int(outputs.labels[case, index]),
                    "probability": float(measured.probabilities[case, index]),
                    "threshold": float(measured.thresholds[case, index]),
                    "answered": bool(measured.decisions[case, index] >= 0),
                    "doubts": {key: float(table[case, index]) for key, table in measured.doubts.items()},
                }
            )
    return found


def _made(settings: EvaluationSettings, started: float) -> dict[str, Any]:
    return {
        "utc": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.monotonic() - started, 1),
        "vesalius": version("vesalius"),
        "resamples": settings.resamples,
        "seed": settings.seed,
    }
