"""The verdict in a handful of figures: what the command prints and what stands on top of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.audit.page import fixed, signed

KIND_WORDS = {
    "noise": "noise",
    "blank": "blank images",
    "inverted": "inverted films",
    "rotated_90": "films rotated by 90°",
    "rotated_180": "films upside down",
}


def key_figures(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns rows of id, label, cohort, value, low, high, text, range and note, the most important first."""
    cohorts = document["cohorts"]
    here = [name for name in ("internal", "external") if cohorts.get(name)]
    home = here[0]
    rows = [balanced_accuracy(name, cohorts[name]["classes"]) for name in here if "classes" in cohorts[name]]
    rows += [_discrimination(name, cohorts[name]) for name in here]
    rows.append(calibration(home, cohorts[home], "films", "ece"))
    if "nll_change" in cohorts[home]["macro"]:  # classes have no logit of their own to begin with
        rows.append(_change(home, cohorts[home]))
    rows.append(_answers(home, cohorts))
    return [*rows, _foreign(home, document["out_of_distribution"])]


def figure_row(id_: str, label: str, cohort: str, one: Mapping[str, Any], shape: str, note: str) -> dict[str, Any]:
    """Returns one row; `shape` is how a number is written: `3` decimals, `+3` with its sign, `%` as a percentage."""

    def write(value: float) -> str:
        if shape == "%":
            return f"{100 * value:.1f} %"
        return signed(value) if shape == "+3" else f"{value:.3f}"

    value, low, high = (one.get(name) for name in ("value", "low", "high"))
    between = " to " if shape == "+3" else "–"
    return {
        "id": id_,
        "label": label,
        "cohort": cohort,
        "value": value,
        "low": low,
        "high": high,
        "text": "not estimable" if value is None else write(value),
        "range": "" if low is None or high is None else f"({write(low).removesuffix(' %')}{between}{write(high)})",
        "note": note,
    }


def _discrimination(name: str, cohort: Mapping[str, Any]) -> dict[str, Any]:
    known = {finding: one["auroc"]["value"] for finding, one in cohort["findings"].items() if one["auroc"]["value"] is not None}
    where = "held-out patients" if name == "internal" else "other sites"
    what = ("class", "classes") if "classes" in cohort else ("finding", "findings")
    note = f"Mean over {len(known)} {what[len(known) != 1]}; 0.5 is a coin."
    if len(known) > 1:
        worst, best = min(known, key=lambda finding: known[finding]), max(known, key=lambda finding: known[finding])
        note += f" From {known[worst]:.2f} ({_words(worst)}) to {known[best]:.2f} ({_words(best)})."
    return figure_row(f"auroc_{name}", f"Macro-AUROC, {where}", name, cohort["macro"]["auroc"], "3", note)


def balanced_accuracy(name: str, classes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of how often the likeliest class is right."""
    note = "The likeliest class, as if every case had to be answered; mean of the classes' recalls."
    unseen = [kind for kind, recall in classes["recall"].items() if recall["value"] is None]
    note += f" No case of {', '.join(map(_words, unseen))}: not in the mean." if unseen else ""
    return figure_row(f"balanced_accuracy_{name}", f"Balanced accuracy, {name}", name, classes["balanced_accuracy"], "3", note)


def calibration(name: str, cohort: Mapping[str, Any], cases: str, id_: str) -> dict[str, Any]:
    """Returns the row of ECE, of classes that of the likeliest, with what a perfect model would show of these `cases`."""
    held = cohort["classes"]["top"] if "classes" in cohort else cohort["macro"]
    label, null = "Calibration error (ECE)", held["ece_null"]
    label += " of the likeliest class" if "classes" in cohort else ""
    note = "Mean gap between what was promised and what came true."
    if null and null["median"] is not None:
        note += f" On so few {cases} a perfect model would show {null['median']:.3f}, and up to {null['p95']:.3f} by chance."
    return figure_row(id_, f"{label}, {name}", name, held["ece"], "3", note)


def _change(name: str, cohort: Mapping[str, Any]) -> dict[str, Any]:
    one = cohort["macro"]["nll_change"]
    if one["value"] is None or one["low"] is None:
        meaning = "Too few films to say."
    elif one["low"] <= 0 <= one["high"]:
        meaning = "No change is shown: the interval includes zero."
    elif float(fixed(one["value"])) == 0:
        meaning = "No change to speak of: it rounds to zero."
    elif one["high"] < 0:
        meaning = "Calibration made it better."
    else:
        meaning = "Calibration made it worse."
    brier = cohort["macro"]["brier_change"]
    beside = "" if brier["value"] is None else f" Brier score changes by {signed(brier['value'])}."
    return figure_row("nll_change", f"NLL, after minus before calibration, {name}", name, one, "+3", meaning + beside)


def _answers(name: str, cohorts: Mapping[str, Any]) -> dict[str, Any]:
    given = _given(cohorts[name])
    error = given["error_answered"]["value"]
    note = "" if error is None else f"Of the answers it gave, {100 * (1 - error):.1f} % were right."
    other = cohorts.get("external") if name == "internal" else None
    if other and _given(other)["coverage"]["value"] is not None:
        note += f" At other sites it answered {100 * _given(other)['coverage']['value']:.1f} %"
        error = _given(other)["error_answered"]["value"]
        note += "." if error is None else f", {100 * (1 - error):.1f} % right."
    return figure_row("coverage", f"Answers given, {name}", name, given["coverage"], "%", note.strip())


def _given(cohort: Mapping[str, Any]) -> Mapping[str, Any]:
    """Coverage and errors of the answers: of classes by the case, of findings their mean."""
    figures: Mapping[str, Any] = cohort.get("classes") or cohort["macro"]
    return figures


def _foreign(home: str, section: Mapping[str, Any]) -> dict[str, Any]:
    alarm = section["kinds"][home]["flagged"]["value"]
    note = "" if alarm is None else f"It also stopped {100 * alarm:.1f} % of the ordinary {home} films."
    lowest = section["lowest"]
    if lowest is None:
        return figure_row("foreign", "Foreign images told from films, AUROC", home, {}, "3", note)
    perfect = lowest["value"] > 0.9995
    which = "Noise, blank, inverted and rotated alike" if perfect else f"The hardest of five kinds: {KIND_WORDS[lowest['kind']]}"
    note = f"{which}. {note}"
    return figure_row("foreign", "Foreign images told from films, AUROC", home, lowest, "3", note)


def _words(name: str) -> str:
    return name.replace("_", " ")
