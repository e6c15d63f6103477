"""The labeler of reports against the gold labels of OpenI: precision and recall of each finding, on reports it was not written on.

    python benchmarks/openi_reports.py [--data FILE.csv] [--half 0|1] [--json]

FILE.csv has `uid, findings, impression, negbio_gold` (labels joined by a bar). The rules were written while looking at reports of
even number; the figures to quote are those of odd number, `--half 1`, with bootstrap intervals by report.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.datasets.report_labels import label_report
from vesalius.metrics import bootstrap_many

FINDINGS = (
    "Cardiomegaly", "Atelectasis", "Effusion", "Emphysema", "Nodule", "Infiltration", "Edema", "Pleural_Thickening", "Pneumonia",
    "Consolidation", "Pneumothorax", "Fibrosis", "Mass",
)  # fmt: skip


Table = np.ndarray
SAID = ("present", "present or doubtful")


def read(path: Path, half: int) -> tuple[Table, Table, Table]:
    """(labels found, gold, what the gold says of all) of the reports of that half that have gold labels and words."""
    found, gold, kinds = [], [], []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            words = f"FINDINGS: {row['findings']} IMPRESSION: {row['impression']}"
            if int(row["uid"][3:]) % 2 != half or not row["negbio_gold"] or not (row["findings"] or row["impression"]):
                continue
            labels = label_report(words, (*FINDINGS, "No Finding"))
            found.append([labels[name] for name in (*FINDINGS, "No Finding")])
            gold.append([name in row["negbio_gold"].split("|") for name in FINDINGS])
            kinds.append(row["negbio_gold"])
    return np.array(found), np.array(gold), np.array(kinds)


def measure(path: Path, half: int = 1, resamples: int = 1000) -> dict[str, Any]:
    """Precision, recall and F1 of each finding and of all together, with doubt as absent and as present; then "No Finding"."""
    found, gold, kinds = read(path, half)
    rows: dict[str, Any] = {name: {"n": int(gold[:, place].sum())} for place, name in enumerate(FINDINGS)}
    rows["all together"] = {"n": int(gold.sum())}
    for said, positive in zip(SAID, (found[:, :-1] == 1, np.isin(found[:, :-1], (1, -1))), strict=True):
        for name, cells in score(positive, gold, resamples).items():
            rows[name] |= cells if said == "present" else {f"{word}, doubt as present": cell for word, cell in cells.items()}
    healthy, normal, no_disease = found[:, -1] == 1, kinds == "normal", np.isin(kinds, ("normal", "none"))
    return {
        "what": f"report labels, OpenI, half {half}",
        "reports": len(gold),
        "findings": rows,
        "no finding": {
            "of reports said to have none, without a gold finding": [int((healthy & no_disease).sum()), int(healthy.sum())],
            "of reports that the gold calls normal, said to have none": [int((healthy & normal).sum()), int(normal.sum())],
        },
    }


def score(found: Table, gold: Table, resamples: int) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1, resampled by report."""

    def figures(weights: np.ndarray) -> np.ndarray:
        tp, fp, fn = (weights @ table for table in (found & gold, found & ~gold, ~found & gold))
        tp, fp, fn = (np.append(each, each.sum()) for each in (tp, fp, fn))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn)])

    cells = bootstrap_many(figures, np.arange(len(gold)), resamples=resamples)
    names = (*FINDINGS, "all together")
    words = ("precision", "recall", "f1")
    return {
        name: {word: cells[place + k * len(names)].to_json() for k, word in enumerate(words)} for place, name in enumerate(names)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("VESALIUS_REAL_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data / "reports_openi_index.csv")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1, help="0: written on; 1: to quote")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.data, arguments.half)
    if arguments.json:
        print(json.dumps(result))
        return
    print(result["what"], f"({result['reports']} reports)")
    for name, row in result["findings"].items():
        print(
            f"{name:<20}{row['n']:>4}", *(f"{word} {text(row[word])}" for word in ("precision", "recall", "f1")), sep="  ", end="  "
        )
        print("| doubt as present:", *(text(row[f"{word}, doubt as present"]) for word in ("precision", "recall", "f1")))
    for what, (share, of) in result["no finding"].items():
        print(f"{what}: {share} of {of}")


def text(cell: dict[str, Any]) -> str:
    if cell["value"] is None or cell["low"] is None:
        return "not estimable      "
    return f"{cell['value']:.2f} ({cell['low']:.2f}–{cell['high']:.2f})"


if __name__ == "__main__":
    main()
