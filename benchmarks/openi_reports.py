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


def read(path: Path, half: int) -> tuple[np.ndarray, np.ndarray]:
    """(labels found, gold) of the reports of that half that have gold labels and words: 1 where present, else 0."""
    found, gold = [], []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            words = f"FINDINGS: {row['findings']} IMPRESSION: {row['impression']}"
            if int(row["uid"][3:]) % 2 != half or not row["negbio_gold"] or not (row["findings"] or row["impression"]):
                continue
            labels = label_report(words, FINDINGS)
            found.append([labels[name] == 1 for name in FINDINGS])
            gold.append([name in row["negbio_gold"].split("|") for name in FINDINGS])
    return np.array(found), np.array(gold)


def measure(path: Path, half: int = 1, resamples: int = 1000) -> dict[str, Any]:
    """Precision, recall and F1 of each finding and of all together."""
    found, gold = read(path, half)

    def figures(weights: np.ndarray) -> np.ndarray:
        tp, fp, fn = (weights @ table for table in (found & gold, found & ~gold, ~found & gold))
        tp, fp, fn = (np.append(each, each.sum()) for each in (tp, fp, fn))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn)])

    cells = bootstrap_many(figures, np.arange(len(gold)), resamples=resamples)
    rows = {}
    for place, name in enumerate((*FINDINGS, "all together")):
        of_it = (cells[place], cells[place + len(FINDINGS) + 1], cells[place + 2 * (len(FINDINGS) + 1)])
        rows[name] = {"n": int(gold[:, place].sum()) if place < len(FINDINGS) else int(gold.sum())}
        rows[name] |= {word: cell.to_json() for word, cell in zip(("precision", "recall", "f1"), of_it, strict=True)}
    return {"what": f"report labels, OpenI, half {half}", "reports": len(gold), "findings": rows}


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
        print(f"{name:<20}{row['n']:>4}", *(f"{word} {text(row[word])}" for word in ("precision", "recall", "f1")), sep="  ")


def text(cell: dict[str, Any]) -> str:
    if cell["value"] is None or cell["low"] is None:
        return "not estimable      "
    return f"{cell['value']:.2f} ({cell['low']:.2f}–{cell['high']:.2f})"


if __name__ == "__main__":
    main()
