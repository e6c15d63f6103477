"""What a file of contrasts says, in figures: there is no decision to count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vesalius.bundle.answers_file import Tally

QUANTILES = {"minimum": 0.0, "median": 0.5, "maximum": 1.0}


@dataclass
class ScoreTally(Tally):
    """Scores of every line.

    Attributes:
        scores: Logits of each finding, in the order of the lines.
    """

    scores: dict[str, list[float]] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any]) -> None:
        """Counts one line."""
        self.cases += 1
        if line["error"] is not None:
            self.failed[line["error"]["code"]] += 1
            return
        self.answered += 1
        for finding in line["findings"]:
            if finding["logit"] is not None:
                self.scores.setdefault(finding["name"], []).append(float(finding["logit"]))

    def spread(self) -> dict[str, dict[str, float]]:
        """Returns least, middle and greatest logit of each finding over the cases."""
        return {
            name: {word: float(np.quantile(values, share)) for word, share in QUANTILES.items()}
            for name, values in self.scores.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Returns plain counts and figures."""
        return {"cases": self.cases, "scored": self.answered, "failed": dict(self.failed), "findings": self.spread()}
