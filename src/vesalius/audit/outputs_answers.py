"""What a decision rule answers to new outputs, counted and written."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesalius.audit.decision_rule import WORDS, Answers, DecisionRule

if TYPE_CHECKING:
    from vesalius.audit.outputs import Outputs


def count_answers(rule: DecisionRule, answers: Answers) -> dict[str, dict[str, int]]:
    """Returns for each finding how many are present, absent, and abstained from for which reason."""
    foreign = np.zeros(len(answers.decisions), dtype=bool) if answers.foreign is None else answers.foreign
    return {
        name: {
            "present": int((column == 1).sum()),
            "absent": int((column == 0).sum()),
            "uncertain": int(((column < 0) & ~foreign).sum()),
            "out_of_distribution": int(((column < 0) & foreign).sum()),
        }
        for name, column in zip(rule.findings, answers.decisions.T, strict=True)
    }


def write_answers(path: Path, outputs: Outputs, rule: DecisionRule, answers: Answers) -> None:
    """Writes one line a case: its line (or row) in the outputs, and for each finding probability, decision and reason.

    No other column of the outputs is copied: whose case it is stays where it was.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        columns = (f"{kind}:{name}" for name in rule.findings for kind in ("probability", "decision", "reason"))
        writer.writerow([outputs.place, *columns])
        for case, place in enumerate(outputs.places):
            fields: list[object] = [int(place)]
            for finding in range(len(rule.findings)):
                p = answers.probabilities[case, finding]
                decision = WORDS[int(answers.decisions[case, finding])]
                fields += ["" if np.isnan(p) else repr(float(p)), decision, answers.reason(case, finding) or ""]
            writer.writerow(fields)
    part.replace(path)
