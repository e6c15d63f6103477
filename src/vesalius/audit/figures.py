"""The audit's figures, made from audit.json alone.

The two cohorts differ in colour, marker and line: blue round solid, orange diamond dashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.audit.drawing import (
    Series,
    Spec,
    axis,
    histogram_chart,
    intervals_chart,
    layout,
    line,
    reliability_chart,
    risk_chart,
    roc_chart,
    series_point,
    short,
)

COHORTS = ("internal", "external")
SERIES = {
    "internal": Series("internal", "internal"),
    "external": Series("external", "external", marker="diamond", dash="dash"),
}


def present_cohorts(cohorts: Mapping[str, Any]) -> list[str]:
    """Returns the cohorts this store has, internal first."""
    return [name for name in COHORTS if cohorts.get(name)]


def intervals_figure(cohorts: Mapping[str, Any], measure: str, title: str, chance: float | None) -> Spec:
    """Returns one row a finding and the macro average below: point and 95 % interval of each cohort."""
    here = present_cohorts(cohorts)
    findings = list(cohorts[here[0]]["findings"])
    of_series = []
    for name in here:
        estimates = {finding: cohorts[name]["findings"][finding][measure] for finding in findings}
        of_series.append((SERIES[name], estimates | {"Macro average": cohorts[name]["macro"][measure]}))
    return intervals_chart([*findings, "Macro average"], of_series, title, chance)


def roc_figure(cohorts: Mapping[str, Any], finding: str) -> Spec:
    """Returns the ROC curve of one finding and the locked operating point on it."""
    curves, points = [], []
    for name in present_cohorts(cohorts):
        one, series = cohorts[name]["findings"][finding], SERIES[name]
        curves.append((series, one["curves"]["roc"]))
        specificity, sensitivity = (one.get(rate, {}).get("value") for rate in ("specificity", "sensitivity"))  # classes have none
        if one["curves"]["roc"] is not None and specificity is not None and sensitivity is not None:
            hover = f"locked threshold<br>1 − specificity %{{x:.2f}}, sensitivity %{{y:.2f}}<extra>{name}</extra>"
            points.append(series_point(series, 1 - specificity, sensitivity, hover))
    return roc_chart(curves, points)


def reliability_figure(cohorts: Mapping[str, Any], finding: str, cases: str = "films") -> Spec:
    """Returns what was promised against what came true, a Wilson interval on each group of cases."""
    here = present_cohorts(cohorts)
    return reliability_chart([(SERIES[name], cohorts[name]["findings"][finding]["curves"]["reliability"]) for name in here], cases)


def risk_coverage_figure(curves_of: Mapping[str, Any], cases: str = "films") -> Spec:
    """Returns the share of wrong answers as the least sure cases are left out, and the locked point; `curves_of` by cohort."""
    curves, points = [], []
    for name, curve in curves_of.items():
        curves.append((SERIES[name], curve))
        points.append((SERIES[name], curve["locked"]["coverage"], curve["locked"]["risk"]))
    return risk_chart(curves, points, cases)


def histogram_figure(cohort: Mapping[str, Any], finding: str, cases: str = "films") -> Spec:
    """Returns the spread of probabilities for cases with and without the finding, with threshold and abstention band."""
    one = cohort["findings"][finding]
    threshold = one["threshold"] if one["threshold"] <= 1 else None  # a cut above 1 answers nothing
    return histogram_chart(one["curves"]["histogram"], threshold, (one["abstain_low"], one["abstain_high"]), cases)


def class_figures(cohorts: Mapping[str, Any], cases: str) -> dict[str, Spec]:
    """Returns what is drawn of the likeliest class, by the names the templates give it."""
    told = {name: cohorts[name]["classes"] for name in present_cohorts(cohorts)}
    reliability = [(SERIES[name], one["curves"]["reliability"]) for name, one in told.items()]
    made = {
        "classes:reliability": reliability_chart(reliability, cases, truth="share truly right"),
        "classes:risk": risk_coverage_figure({name: one["curves"]["risk_coverage"] for name, one in told.items()}, cases),
    }
    for name, one in told.items():
        cut, words = one["cut"] if one["cut"] <= 1 else None, ("right", "wrong")
        made[f"classes:histogram:{name}"] = histogram_chart(one["curves"]["histogram"], cut, None, cases, words=words)
    return made


def ood_figure(section: Mapping[str, Any]) -> Spec:
    """Returns one row a kind of image: every score as a box, the gate's threshold as a line. Right is more foreign."""
    kinds = [kind | {"kind": name} for name, kind in section["kinds"].items() if kind["scores"]]
    scores = [score for kind in kinds for score in kind["scores"].values()]
    logarithmic = min(scores) > 0 and max(scores) > 50 * min(scores)
    data = [_box(kind, len(kinds) - 1 - index) for index, kind in enumerate(kinds)]
    threshold = section["threshold"]
    ends = (-0.6, len(kinds) - 0.4)
    y = axis(
        "",
        ends,
        tickvals=list(range(len(kinds))),
        ticktext=[short(kind["title"]) for kind in reversed(kinds)],
        showgrid=False,
        zeroline=False,
    )
    x = axis("score (right: more foreign)", zeroline=False, **({"type": "log", "dtick": 1} if logarithmic else {"nticks": 6}))
    return {
        "data": data,
        "layout": layout(x, y, 80 + 44 * len(kinds), shapes=[line((threshold, ends[0]), (threshold, ends[1]), "solid")]),
    }


def _box(kind: Mapping[str, Any], position: int) -> Spec:
    colour = f"@{kind['kind'].split('_')[0]}" if kind["kind"].startswith(COHORTS) else "@before"
    score = kind["scores"]
    return {
        "type": "box",
        "orientation": "h",
        "name": kind["title"],
        "y": [position],
        "lowerfence": [score["p05"]],
        "q1": [score["p25"]],
        "median": [score["median"]],
        "q3": [score["p75"]],
        "upperfence": [score["p95"]],
        "line": {"color": colour, "width": 1.6},
        "width": 0.55,
        "hoverinfo": "x+name",
    }
