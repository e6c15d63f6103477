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
    rows = [_discrimination(name, cohorts[name]) for name in ("internal", "external") if cohorts.get(name)]
    home = "internal" if cohorts.get("internal") else "external"
    rows += [_calibration(home, cohorts[home]), _change(home, cohorts[home]), _answers(home, cohorts)]
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
    note = f"Mean over {len(known)} finding{'s' if len(known) != 1 else ''}; 0.5 is a coin."
    if len(known) > 1:
        worst, best = min(known, key=lambda finding: known[finding]), max(known, key=lambda finding: known[finding])
        note += f" From {known[worst]:.2f} ({_words(worst)}) to {known[best]:.2f} ({_words(best)})."
    return figure_row(f"auroc_{name}", f"Macro-AUROC, {where}", name, cohort["macro"]["auroc"], "3", note)


def _calibration(name: str, cohort: Mapping[str, Any]) -> dict[str, Any]:
    note = "Mean gap between what was promised and what came true." + chance_of_ece(cohort["macro"]["ece_null"], "films")
    return figure_row("ece", f"Calibration error (ECE), {name}", name, cohort["macro"]["ece"], "3", note)


def chance_of_ece(null: Mapping[str, Any] | None, cases: str) -> str:
    """Returns what a perfectly calibrated model would show, as a sentence that follows another; nothing where it is not known."""
    if not null or null["median"] is None:
        return ""
    return f" On so few {cases} a perfect model would show {null['median']:.3f}, and up to {null['p95']:.3f} by chance."


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
    macro = cohorts[name]["macro"]
    error = macro["error_answered"]["value"]
    note = "" if error is None else f"Of the answers it gave, {100 * (1 - error):.1f} % were right."
    other = cohorts.get("external") if name == "internal" else None
    if other and other["macro"]["coverage"]["value"] is not None:
        note += f" At other sites it answered {100 * other['macro']['coverage']['value']:.1f} %"
        error = other["macro"]["error_answered"]["value"]
        note += "." if error is None else f", {100 * (1 - error):.1f} % right."
    return figure_row("coverage", f"Answers given, {name}", name, macro["coverage"], "%", note.strip())


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
