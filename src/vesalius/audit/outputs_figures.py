"""The figures of a page about outputs, made from uq.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.audit.drawing import (
    Series,
    Spec,
    histogram_chart,
    intervals_chart,
    reliability_chart,
    risk_chart,
    roc_chart,
    series_point,
)

AFTER, BEFORE = Series("calibrated", "internal"), Series("as given", "before", marker="diamond-open", dash="dot")
AS_GIVEN = Series("as given", "internal")
MEASURES = {
    "softmax_distance": Series("softmax distance", "internal"),
    "ensemble_spread": Series("spread of the members", "external", dash="dash"),
    "ood_distance": Series("distance of the features", "absent", dash="dot"),
    "combination": Series("combination", "present", dash="dashdot"),
}


def all_figures(document: Mapping[str, Any]) -> dict[str, Spec]:
    """Returns every figure by the name the template gives it."""
    findings, rule = document["findings"], document["rule"]
    made = {"auroc": _intervals(document, "auroc", "AUROC", 0.5)}
    for name, one in findings.items():
        curves = one["curves"]
        made[f"roc:{name}"] = _roc(one)
        made[f"reliability:{name}"] = _reliability(document, curves)
        made[f"histogram:{name}"] = histogram_chart(
            curves["histogram"], rule[name]["threshold"], (rule[name]["low"], rule[name]["high"]), "cases"
        )
        locked = curves["locked"]
        made[f"risk:{name}"] = risk_chart(
            [(MEASURES[key], curve) for key, curve in curves["risk_coverage"].items()],
            [(MEASURES["softmax_distance"], locked["coverage"], locked["risk"])],
            "cases",
        )
        made[f"failures:{name}"] = roc_chart(
            [(MEASURES[key], curve) for key, curve in curves["failure_roc"].items()],
            words=("right answers flagged", "wrong answers flagged"),
        )
    return made


def _intervals(document: Mapping[str, Any], measure: str, title: str, chance: float | None) -> Spec:
    estimates = {name: one[measure] for name, one in document["findings"].items()}
    rows = list(estimates)
    if len(rows) > 1:
        rows, estimates = [*rows, "Macro average"], estimates | {"Macro average": document["macro"][measure]}
    return intervals_chart(rows, [(AFTER, estimates)], title, chance)


def _roc(one: Mapping[str, Any]) -> Spec:
    at_rule, points = one["at_rule"], []
    specificity, sensitivity = at_rule["specificity"]["value"], at_rule["sensitivity"]["value"]
    if one["curves"]["roc"] is not None and specificity is not None and sensitivity is not None:
        hover = "at the rule's threshold<br>1 − specificity %{x:.2f}, sensitivity %{y:.2f}<extra></extra>"
        points.append(series_point(AFTER, 1 - specificity, sensitivity, hover))
    return roc_chart([(AFTER, one["curves"]["roc"])], points)


def _reliability(document: Mapping[str, Any], curves: Mapping[str, Any]) -> Spec:
    if document["how"]["method"] == "none":
        return reliability_chart([(AS_GIVEN, curves["reliability"])], "cases")
    return reliability_chart([(BEFORE, curves["reliability_uncalibrated"]), (AFTER, curves["reliability"])], "cases")
