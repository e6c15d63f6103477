"""Charts as plotly specifications: plain dictionaries, the same for every page of this package.

A colour that starts with `@` names a custom property of the page's style sheet, so one figure serves light and dark.
What is told apart on one chart differs in colour, marker and line, for every kind of colour vision and in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True)
class Series:
    """One thing on a chart: its name, the style sheet's colour, a marker and a dash."""

    name: str
    colour: str
    marker: str = "circle"
    dash: str = "solid"


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


def series_line(series: Series, x: Sequence[Any], y: Sequence[Any], **more: Any) -> Spec:
    """Returns one line in its colour and dash."""
    style = {"color": f"@{series.colour}", "width": 2.2, "dash": series.dash}
    return {"type": "scatter", "mode": "lines", "name": series.name, "x": list(x), "y": list(y), "line": style} | more


def series_point(series: Series, x: float, y: float, hover: str) -> Spec:
    """Returns one marked point, such as an operating point on its curve."""
    marker = {"color": f"@{series.colour}", "symbol": series.marker, "size": 11, "line": {"color": "@card", "width": 2}}
    return {"type": "scatter", "mode": "markers", "x": [x], "y": [y], "marker": marker, "hovertemplate": hover}


def intervals_chart(
    rows: Sequence[str], of_series: Sequence[tuple[Series, Mapping[str, Any]]], title: str, chance: float | None
) -> Spec:
    """Returns one row a name, the first on top: point and 95 % interval of each series; a name without a value has none."""
    positions = {name: len(rows) - 1 - index for index, name in enumerate(rows)}
    data = []
    lowest = 1.0
    for index, (series, estimates) in enumerate(of_series):
        shift = 0.14 * (len(of_series) - 1 - 2 * index)
        known = [(name, one) for name, one in estimates.items() if one["value"] is not None]
        lowest = min([lowest, *(one["value"] if one["low"] is None else one["low"] for _, one in known)])
        data.append(_interval_trace(series, known, positions, shift))
    limits = (min(lowest - 0.03, 0.48 if chance else lowest), 1.02)
    ends = (-0.6, len(rows) - 0.4)
    y = axis("", ends, tickvals=list(positions.values()), ticktext=[short(name) for name in rows], showgrid=False, zeroline=False)
    shapes = [line((chance, ends[0]), (chance, ends[1]))] if chance is not None else []
    return {"data": data, "layout": layout(axis(title, limits), y, 90 + 46 * len(rows), shapes=shapes)}


def _interval_trace(series: Series, known: Sequence[tuple[str, Any]], positions: Mapping[str, int], shift: float) -> Spec:
    bars = _bars(series, [(one["value"], one["low"], one["high"]) for _, one in known], thickness=2)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": series.name,
        "x": [one["value"] for _, one in known],
        "y": [positions[name] + shift for name, _ in known],
        "error_x": bars,
        "marker": {"color": f"@{series.colour}", "symbol": series.marker, "size": 10},
        "text": [f"{name}: {interval_text(one)}" for name, one in known],
        "hovertemplate": "%{text}<extra>" + series.name + "</extra>",
    }


def _bars(series: Series, estimates: Sequence[tuple[float, float | None, float | None]], thickness: float) -> Spec:
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if high is None else high - value for value, _, high in estimates],
        "arrayminus": [0.0 if low is None else value - low for value, low, _ in estimates],
        "color": f"@{series.colour}",
        "thickness": thickness,
        "width": 0,
    }


def roc_chart(
    curves: Sequence[tuple[Series, Mapping[str, Any] | None]],
    points: Sequence[Spec] = (),
    *,
    words: tuple[str, str] = ("1 − specificity", "sensitivity"),
) -> Spec:
    """Returns ROC curves on a square and marked points on them; a curve that is None is left out."""
    data = []
    for series, curve in curves:
        if curve is not None:
            hover = f"{words[0]} %{{x:.2f}}, {words[1]} %{{y:.2f}}<extra>{series.name}</extra>"
            data.append(series_line(series, curve["false_positive_rate"], curve["sensitivity"], hovertemplate=hover))
    ends = {"tickvals": [0, 0.5, 1]}
    x, y = (axis(word, (-0.02, 1.02), **ends) for word in words)
    return {"data": [*data, *points], "layout": layout(x, y, 270, shapes=[line((0.0, 0.0), (1.0, 1.0))])}


def reliability_chart(
    of_series: Sequence[tuple[Series, Sequence[Mapping[str, Any]]]], cases: str = "films", *, truth: str = "share truly present"
) -> Spec:
    """Returns what was promised against what came true, a Wilson interval on each group of cases."""
    data = []
    for series, rows in of_series:
        bins = [row for row in rows if row["n"]]
        bars = _bars(series, [(row["observed"], row["observed_low"], row["observed_high"]) for row in bins], thickness=1.3)
        said, seen = [row["mean_probability"] for row in bins], [row["observed"] for row in bins]
        trace = series_line(series, said, seen, mode="markers+lines", error_y=bars)
        trace["line"] = trace["line"] | {"width": 1}
        trace["marker"] = {"color": f"@{series.colour}", "symbol": series.marker, "size": 8}
        trace["customdata"] = [row["n"] for row in bins]
        trace["hovertemplate"] = f"said %{{x:.2f}}, was %{{y:.2f}}<br>%{{customdata}} {cases}<extra>{series.name}</extra>"
        data.append(trace)
    x, y = (axis(word, (-0.04, 1.04), tickvals=[0, 0.5, 1]) for word in ("probability given", truth))
    return {"data": data, "layout": layout(x, y, 270, shapes=[line((0.0, 0.0), (1.0, 1.0))])}


def risk_chart(
    curves: Sequence[tuple[Series, Mapping[str, Any]]],
    points: Sequence[tuple[Series, float | None, float | None]],
    cases: str = "films",
) -> Spec:
    """Returns the share of wrong answers as the least sure cases are left out, and marked points (coverage, risk) as locked."""
    data, highest = [], 0.05
    for series, curve in curves:
        hover = "answering %{x:.0%}: %{y:.1%} wrong<extra>" + series.name + "</extra>"
        data.append(series_line(series, curve["coverage"], curve["risk"], hovertemplate=hover))
        highest = max([highest, *curve["risk"]])
    for series, coverage, risk in points:
        if coverage and risk is not None:
            hover = "as locked<br>answering %{x:.0%}: %{y:.1%} wrong<extra>" + series.name + "</extra>"
            data.append(series_point(series, coverage, risk, hover))
            highest = max(highest, risk)
    x = axis(f"share of {cases} answered", (0.0, 1.03), tickformat=".0%", tickvals=[0, 0.5, 1])
    return {"data": data, "layout": layout(x, axis("wrong answers", (0.0, highest * 1.12), tickformat=".0%", nticks=4), 250)}


def histogram_chart(
    histogram: Mapping[str, Any],
    threshold: float | None,
    band: tuple[float, float] | None,
    cases: str = "films",
    *,
    words: tuple[str, str] = ("with it", "without"),
) -> Spec:
    """Returns the spread of probabilities for cases with and without the finding, with threshold and abstention band."""
    edges = histogram["edges"]
    data = [
        {
            "type": "bar",
            "name": word,
            "x": [(low + high) / 2 for low, high in pairwise(edges)],
            "y": [sign * count for count in histogram[word]],
            "width": [high - low for low, high in pairwise(edges)],
            "marker": {"color": f"@{word}", "line": {"color": "@card", "width": 0.5}},
            "customdata": histogram[word],
            "hovertemplate": f"%{{customdata}} {cases} {word} at %{{x:.2f}}<extra></extra>",
        }
        for word, sign in (("present", 1), ("absent", -1))
    ]
    top = max([1, *histogram["present"], *histogram["absent"]]) * 1.08
    shapes = [] if threshold is None else [line((threshold, -top), (threshold, top), "solid")]
    if band is not None and band[1] > band[0]:
        grey = {"type": "rect", "x0": band[0], "x1": band[1], "y0": -top, "y1": top, "line": {"width": 0}}
        shapes.append(grey | {"fillcolor": "@before", "opacity": 0.2, "layer": "below"})
    y = axis(cases, (-top, top), showticklabels=False, showgrid=False, zerolinecolor="@soft")
    x = axis("probability given", (0.0, 1.0), tickvals=[0, 0.5, 1], showgrid=False)
    notes = [_corner(f"{words[0]} ↑", 0.01, 1.0, "@present"), _corner(f"{words[1]} ↓", 0.99, 0.0, "@absent")]
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
