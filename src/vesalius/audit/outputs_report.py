"""uq.json as one self-contained page, as tables for a terminal, and the decision rule beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vesalius.audit import outputs_figures
from vesalius.audit.drawing import interval_text
from vesalius.audit.outputs_evaluation import OutputsResult
from vesalius.audit.page import fixed, json_text, percentage, render_page, signed, words, write_whole

SECTIONS = (
    ("short", "In short"),
    ("rule", "Decision rule"),
    ("calibration", "Calibration"),
    ("discrimination", "Discrimination"),
    ("failures", "Knowing its errors"),
    ("subgroups", "Subgroups"),
    ("worst", "Worst cases"),
    ("methods", "Method"),
)
METHOD_WORDS = {
    "temperature": "a temperature for each finding",
    "shared-temperature": "one temperature for all findings",
    "platt": "Platt's slope and intercept for each finding",
    "vector": "a slope and an intercept for each finding, by plain likelihood",
    "beta": "a beta curve for each finding",
    "isotonic": "a rising curve through the cases of each finding",
    "venn-abers": "Venn–Abers: two isotonic fits a case, merged",
    "selected": "for each finding the calibrator that did best on held-out patients",
    "none": "nothing: probabilities as given",
}
MEASURE_WORDS = {
    "softmax_distance": "min(q, 1 − q) of the calibrated probability, once its threshold is moved to 0.5",
    "ensemble_spread": "standard deviation of the members’ probabilities",
    "ood_distance": "Mahalanobis distance of the features from those the rule was fitted on",
    "combination": "all of these, each standardised on the fitted cases, and averaged",
}


def write_report(result: OutputsResult, out: Path) -> list[Path]:
    """Writes `index.html`, `uq.json` and the decision rule into `out`; returns the paths."""
    write_whole(out, {"uq.json": json_text(result.document), "index.html": render(result.document)})
    return [out / "index.html", out / "uq.json", *result.rule.save(out)]


def render(document: Mapping[str, Any]) -> str:
    """Returns the page."""
    present = {"subgroups": bool(document["subgroups"]), "worst": bool(document["worst"])}
    measures = list(document["macro"]["failure_detection"])
    return render_page(
        "outputs.html.jinja",
        outputs_figures.all_figures(document),
        doc=document,
        sections=[section for section in SECTIONS if present.get(section[0], True)],
        cards=cards(document),
        summary=summary(document),
        measures=[(key, outputs_figures.MEASURES[key], MEASURE_WORDS[key]) for key in measures],
        method=METHOD_WORDS[document["how"]["method"]],
        calibrated=document["how"]["method"] != "none",
        place=document["file"]["place"],
    )


def summary(document: Mapping[str, Any]) -> str:
    """Returns what was looked at, in one paragraph."""
    file, names = document["file"], [words(name) for name in document["findings"]]
    whose = "" if file["n_patients"] is None else f" of {file['n_patients']:,} patients"
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    more = [f"{file['features']} features"] if file["features"] else []
    more += [f"{file['members']} members"] if file["members"] else []
    beside = f", with {' and '.join(more)}" if more else ""
    return f"{file['name']}: {file['n']:,} cases{whose}, outputs for {listed}{beside}."


def cards(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns the figures that stand on top: label, value, interval and a sentence."""
    macro, many = document["macro"], len(document["findings"]) > 1
    mean = "mean over findings" if many else next(iter(document["findings"])).replace("_", " ")
    rate = macro["at_rule"]
    made = [
        _card("AUROC", macro["auroc"], f"Does it rank cases? {mean.capitalize()}; 0.5 is a coin."),
        _card("Calibration error (ECE)", macro["ece"], _calibration_note(document)),
        _card("Answers given", rate["coverage"], _answers_note(rate), share=True),
    ]
    best = _best_measure(macro["failure_detection"])
    if best is not None:
        name, value = best
        note = f"Best measure: {outputs_figures.MEASURES[name].name}. How often a wrong call is less sure than a right one."
        made.append({"label": "Errors noticed, AUROC", "text": fixed(value), "range": "", "note": note})
    return made


def _card(label: str, one: Mapping[str, Any], note: str, *, share: bool = False) -> dict[str, str]:
    if one["value"] is None:
        return {"label": label, "text": "", "range": "", "note": note}
    text = percentage(one["value"]) if share else fixed(one["value"])
    ends = "" if one["low"] is None else f"({fixed(one['low'])}–{fixed(one['high'])})"
    if share and one["low"] is not None:
        ends = f"({100 * one['low']:.1f}–{100 * one['high']:.1f})"
    return {"label": label, "text": text, "range": ends, "note": note}


def _calibration_note(document: Mapping[str, Any]) -> str:
    macro = document["macro"]
    null, before = macro["ece_null"], macro["ece_uncalibrated"]["value"]
    notes = []
    if document["how"]["method"] != "none" and before is not None:
        change = macro["nll_change"]
        verdict = "no change is shown" if change["low"] is None or change["low"] <= 0 <= change["high"] else ""
        verdict = verdict or ("better" if change["high"] < 0 else "worse")
        notes.append(f"Before: {fixed(before)}. By log likelihood ({signed(change['value'])}): {verdict}.")
    if null and null["median"] is not None:
        notes.append(f"A perfect model would show {fixed(null['median'])} here by chance, up to {fixed(null['p95'])}.")
    return " ".join(notes)


def _answers_note(rate: Mapping[str, Any]) -> str:
    error = rate["error_answered"]["value"]
    return "No answer is given." if error is None else f"Of the answers given, {100 * (1 - error):.1f} % were right."


def _best_measure(measures: Mapping[str, Any]) -> tuple[str, float] | None:
    known = {name: one["auroc"]["value"] for name, one in measures.items() if one["auroc"]["value"] is not None}
    best = max(known, key=lambda name: known[name], default=None)
    return None if best is None else (best, known[best])


def summary_tables(document: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]:
    """Returns what a terminal shows: title, columns, rows."""
    rows: list[tuple[object, ...]] = []
    for name, one in [*document["findings"].items(), ("macro average", document["macro"])]:
        temperature = one.get("temperature")
        size = (one["n"], one["n_positive"]) if "n_positive" in one else ("", "")
        figures = (interval_text(one[key]) for key in ("auroc", "ece_uncalibrated", "ece", "brier"))
        rows.append((words(name), *size, "" if temperature is None else fixed(temperature), *figures))
    columns = ("finding", "cases", "with it", "temperature", "AUROC", "ECE as given", "ECE calibrated", "Brier")
    rules: list[tuple[object, ...]] = []
    for name, rule in document["rule"].items():
        rate = document["findings"][name]["at_rule"]
        answered, error = rate["coverage"]["value"], rate["error_answered"]["value"]
        right = "–" if error is None else percentage(1 - error)
        band = "never" if (rule["low"], rule["high"]) == (0.0, 1.0) else f"{fixed(rule['low'])} – {fixed(rule['high'])}"
        rules.append((words(name), fixed(rule["threshold"]), band, percentage(answered), right, promise_words(rule["promise"])))
    rule_columns = ("finding", "threshold", "no answer between", "answered", "right", "promised")
    return [(f"{document['file']['name']}", columns, rows), ("decision rule", rule_columns, rules)]


def promise_words(promise: Mapping[str, Any] | None) -> str:
    """Returns what is promised of one finding, or nothing."""
    parts = []
    if promise and "target_risk" in promise:
        parts.append(f"risk ≤ {promise['target_risk']:g} ({promise['confidence']:.0%})")
    if promise and "sensitivity" in promise:
        parts.append(f"sensitivity ≥ {promise['sensitivity']:g} ({promise['sensitivity_confidence']:.0%})")
    return ", ".join(parts)
