"""The report's figures as plotly specifications: plain dictionaries made from audit.json alone.

A colour that starts with `@` names a custom property of the page's style sheet, so one figure serves light and dark.
The two cohorts differ in colour, marker and line: blue round solid, orange diamond dashed (told apart by every kind of
colour vision, and in grey).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Spec = dict[str, Any]

COHORTS = ("internal", "external")
MARKER = {"internal": "circle", "external": "diamond"}
DASH = {"internal": "solid", "external": "dash"}
NAMES = {"internal": "internal", "external": "external"}


def axis(title: str, limits: tuple[float, float] | None = None, **more: Any) -> Spec:
    """Returns one axis with a quiet grid and room for its title."""
    spec: Spec = {
        "title": {"text": title, "standoff": 6, "font": {"size": 12}},
        "gridcolor": "@grid",
        "zerolinecolor": "@grid",
        "linecolor": "@line",
        "tickfont": {"size": 11},
        "automargin": True,
        "fixedrange": True,
    }
    if limits is not None:
        spec["range"] = list(limits)
    return spec | more


def layout(x: Spec, y: Spec, height: int, **more: Any) -> Spec:
    """Returns a transparent layout in the page's own type."""
    return {
        "height": height,
        "margin": {"l": 44, "r": 12, "t": 10, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "@ink", "size": 12},
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@line", "font": {"color": "@ink"}},
        "showlegend": False,
        "dragmode": False,
        "xaxis": x,
        "yaxis": y,
    } | more


def line(start: tuple[float, float], end: tuple[float, float], dash: str = "dot") -> Spec:
    """Returns a thin reference line."""
    return {
        "type": "line",
        "x0": start[0],
        "y0": start[1],
        "x1": end[0],
        "y1": end[1],
        "line": {"color": "@before", "width": 1.2, "dash": dash},
        "layer": "below",
    }


def cohort_line(cohort: str, x: Sequence[Any], y: Sequence[Any], **more: Any) -> Spec:
    """Returns one line in its cohort's colour and dash."""
    style = {"color": f"@{cohort}", "width": 2.2, "dash": DASH[cohort]}
    return {"type": "scatter", "mode": "lines", "name": NAMES[cohort], "x": list(x), "y": list(y), "line": style} | more


def present_cohorts(cohorts: Mapping[str, Any]) -> list[str]:
    """Returns the cohorts this store has, internal first."""
    return [name for name in COHORTS if cohorts.get(name)]


def intervals_figure(cohorts: Mapping[str, Any], measure: str, title: str, chance: float | None) -> Spec:
    """Returns one row a finding and the macro average below: point and 95 % interval of each cohort."""
    here = present_cohorts(cohorts)
    findings = list(cohorts[here[0]]["findings"])
    rows = [*findings, "Macro average"]
    positions = {name: len(rows) - 1 - index for index, name in enumerate(rows)}
    data = []
    lowest = 1.0
    for cohort in here:
        shift = 0.0 if len(here) == 1 else (0.14 if cohort == "internal" else -0.14)
        estimates = [(name, cohorts[cohort]["findings"][name][measure]) for name in findings]
        estimates.append(("Macro average", cohorts[cohort]["macro"][measure]))
        known = [(name, one) for name, one in estimates if one["value"] is not None]
        lowest = min([lowest, *(one["value"] if one["low"] is None else one["low"] for _, one in known)])
        data.append(_interval_trace(cohort, known, positions, shift))
    limits = (min(lowest - 0.03, 0.48 if chance else lowest), 1.02)
    y = axis(
        "",
        (-0.6, len(rows) - 0.4),
        tickvals=list(positions.values()),
        ticktext=[short(name) for name in rows],
        showgrid=False,
        zeroline=False,
    )
    shapes = [line((chance, -0.6), (chance, len(rows) - 0.4))] if chance is not None else []
    return {"data": data, "layout": layout(axis(title, limits), y, 90 + 46 * len(rows), shapes=shapes)}


def _interval_trace(cohort: str, known: Sequence[tuple[str, Any]], positions: Mapping[str, int], shift: float) -> Spec:
    values = [one["value"] for _, one in known]
    above = [0.0 if one["high"] is None else one["high"] - one["value"] for _, one in known]
    below = [0.0 if one["low"] is None else one["value"] - one["low"] for _, one in known]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": NAMES[cohort],
        "x": values,
        "y": [positions[name] + shift for name, _ in known],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "color": f"@{cohort}",
            "thickness": 2,
            "width": 0,
        },
        "marker": {"color": f"@{cohort}", "symbol": MARKER[cohort], "size": 10},
        "text": [f"{name}: {interval_text(one)}" for name, one in known],
        "hovertemplate": "%{text}<extra>" + NAMES[cohort] + "</extra>",
    }


def roc_figure(cohorts: Mapping[str, Any], finding: str) -> Spec:
    """Returns the ROC curve of one finding and the locked operating point on it."""
    data = []
    for cohort in present_cohorts(cohorts):
        one = cohorts[cohort]["findings"][finding]
        curve = one["curves"]["roc"]
        if curve is None:
            continue
        hover = "false alarms %{x:.2f}, found %{y:.2f}<extra>" + NAMES[cohort] + "</extra>"
        data.append(cohort_line(cohort, curve["false_positive_rate"], curve["sensitivity"], hovertemplate=hover))
        specificity, sensitivity = one["specificity"]["value"], one["sensitivity"]["value"]
        if specificity is not None and sensitivity is not None:
            marker = {"color": f"@{cohort}", "symbol": MARKER[cohort], "size": 11, "line": {"color": "@card", "width": 2}}
            point = {"type": "scatter", "mode": "markers", "x": [1 - specificity], "y": [sensitivity], "marker": marker}
            data.append(point | {"hovertemplate": "locked threshold<br>" + hover})
    x = axis("1 − specificity", (-0.02, 1.02), tickvals=[0, 0.5, 1])
    return {
        "data": data,
        "layout": layout(x, axis("sensitivity", (-0.02, 1.02), tickvals=[0, 0.5, 1]), 270, shapes=[line((0.0, 0.0), (1.0, 1.0))]),
    }


def reliability_figure(cohorts: Mapping[str, Any], finding: str) -> Spec:
    """Returns what was promised against what came true, a Wilson interval on each group of films."""
    data = []
    for cohort in present_cohorts(cohorts):
        bins = [row for row in cohorts[cohort]["findings"][finding]["curves"]["reliability"] if row["n"]]
        observed = [row["observed"] for row in bins]
        above = [row["observed_high"] - row["observed"] for row in bins]
        below = [row["observed"] - row["observed_low"] for row in bins]
        bars = {
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": below,
            "color": f"@{cohort}",
            "thickness": 1.3,
            "width": 0,
        }
        trace = cohort_line(cohort, [row["mean_probability"] for row in bins], observed, mode="markers+lines", error_y=bars)
        trace["line"] = trace["line"] | {"width": 1}
        trace["marker"] = {"color": f"@{cohort}", "symbol": MARKER[cohort], "size": 8}
        trace["customdata"] = [row["n"] for row in bins]
        trace["hovertemplate"] = "said %{x:.2f}, was %{y:.2f}<br>%{customdata} films<extra>" + NAMES[cohort] + "</extra>"
        data.append(trace)
    ticks = {"tickvals": [0, 0.5, 1]}
    shapes = [line((0.0, 0.0), (1.0, 1.0))]
    return {
        "data": data,
        "layout": layout(
            axis("probability given", (-0.04, 1.04), **ticks),
            axis("share truly present", (-0.04, 1.04), **ticks),
            270,
            shapes=shapes,
        ),
    }


def risk_coverage_figure(cohorts: Mapping[str, Any], finding: str) -> Spec:
    """Returns the share of wrong answers as the least sure films are left out, and the locked point."""
    data = []
    highest = 0.05
    for cohort in present_cohorts(cohorts):
        one = cohorts[cohort]["findings"][finding]
        curve = one["curves"]["risk_coverage"]
        hover = "answering %{x:.0%}: %{y:.1%} wrong<extra>" + NAMES[cohort] + "</extra>"
        data.append(cohort_line(cohort, curve["coverage"], curve["risk"], hovertemplate=hover))
        highest = max([highest, *curve["risk"]])
        point = curve["locked"]
        if point["coverage"] and point["risk"] is not None:
            marker = {"color": f"@{cohort}", "symbol": MARKER[cohort], "size": 11, "line": {"color": "@card", "width": 2}}
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [point["coverage"]],
                    "y": [point["risk"]],
                    "marker": marker,
                    "hovertemplate": "as locked<br>" + hover,
                }
            )
            highest = max(highest, point["risk"])
    x = axis("share of films answered", (0.0, 1.03), tickformat=".0%", tickvals=[0, 0.5, 1])
    return {"data": data, "layout": layout(x, axis("wrong answers", (0.0, highest * 1.12), tickformat=".0%", nticks=4), 250)}


def histogram_figure(cohort: Mapping[str, Any], finding: str) -> Spec:
    """Returns the spread of probabilities for films with and without the finding, with threshold and abstention band."""
    one = cohort["findings"][finding]
    histogram = one["curves"]["histogram"]
    edges = histogram["edges"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    data = [
        {
            "type": "bar",
            "name": word,
            "x": middles,
            "y": [sign * count for count in histogram[word]],
            "width": [high - low for low, high in pairwise(edges)],
            "marker": {"color": f"@{word}", "line": {"color": "@card", "width": 0.5}},
            "customdata": histogram[word],
            "hovertemplate": "%{customdata} films " + word + " at %{x:.2f}<extra></extra>",
        }
        for word, sign in (("present", 1), ("absent", -1))
    ]
    top = max([1, *histogram["present"], *histogram["absent"]]) * 1.08
    shapes = [line((one["threshold"], -top), (one["threshold"], top), "solid")]
    if one["abstain_high"] > one["abstain_low"]:
        band = {"type": "rect", "x0": one["abstain_low"], "x1": one["abstain_high"], "y0": -top, "y1": top, "line": {"width": 0}}
        shapes.append(band | {"fillcolor": "@before", "opacity": 0.2, "layer": "below"})
    y = axis("films", (-top, top), showticklabels=False, showgrid=False, zerolinecolor="@soft")
    x = axis("probability given", (0.0, 1.0), tickvals=[0, 0.5, 1], showgrid=False)
    notes = [_corner("with it ↑", 0.01, 1.0, "@present"), _corner("without ↓", 0.99, 0.0, "@absent")]
    return {"data": data, "layout": layout(x, y, 220, barmode="overlay", shapes=shapes, annotations=notes)}


def _corner(text: str, x: float, y: float, colour: str) -> Spec:
    # positives gather at the right and negatives at the left, so the other two corners are free
    place = {
        "xref": "paper",
        "yref": "paper",
        "x": x,
        "y": y,
        "xanchor": "left" if x < 0.5 else "right",
        "yanchor": "top" if y else "bottom",
    }
    return {"text": text, "showarrow": False, "font": {"size": 12, "color": colour}, "bgcolor": "@card", "opacity": 0.9} | place


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


def short(text: str, width: int = 18) -> str:
    """Returns `text` broken into lines of about `width` characters, so that a phone keeps room for the figure."""
    lines = [""]
    for word in text.replace("_", " ").split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)


def interval_text(interval: Mapping[str, Any], digits: int = 3) -> str:
    """Returns `0.912 (0.871 to 0.948)`, or the words that say why there is none."""
    if interval["value"] is None:
        return "not estimable"
    value = f"{interval['value']:.{digits}f}"
    if interval["low"] is None:
        return f"{value} (interval not estimable)"
    return f"{value} ({interval['low']:.{digits}f} to {interval['high']:.{digits}f})"
