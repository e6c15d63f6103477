"""The table of slides on an audit's page: what was said of each, what is true, and why there was no answer.

Slides are called as the user's CSV calls them; of a whole path the file's name alone stays, and nothing of the patient is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Literal

import numpy as np

from vesalius.audit.answers import Answers
from vesalius.audit.classes import likeliest, likeliest_class
from vesalius.types import Reason

if TYPE_CHECKING:
    from vesalius.datasets.slide_labels import LabelledSlide

Verdict = Literal["wrong", "none", "right", "unknown"]
ORDER: tuple[Verdict, ...] = ("wrong", "none", "right", "unknown")
"""The worst first; `unknown`: answered, and the truth is not known."""
NO_ANSWER = {Reason.UNCERTAIN: "no answer: too close to call", Reason.OUT_OF_DISTRIBUTION: "no answer: stopped by the gate"}


@dataclass(frozen=True)
class Said:
    """One answer about a slide.

    Attributes:
        finding: What it was asked; of classes the likeliest.
        truth: `present`, `absent`, the class, or `not known`.
        probability: Calibrated.
        words: What was said.
        verdict: How it fares against the truth.
        sureness: Of what it leans to, whether or not it was said; a probability.
    """

    finding: str
    truth: str
    probability: float
    words: str
    verdict: Verdict
    sureness: float


@dataclass(frozen=True)
class SlideRow:
    """One slide: its name in the CSV, where it is from, what was said, and the gate's score; higher is more foreign."""

    slide: str
    cohort: str
    site: str
    said: tuple[Said, ...]
    score: float
    stopped: bool

    @property
    def verdict(self) -> Verdict:
        """The worst of its answers."""
        return min((one.verdict for one in self.said), key=ORDER.index)


def slide_rows(
    cohorts: Mapping[str, Answers], slides: Sequence[LabelledSlide], findings: Sequence[str], *, classes: bool
) -> tuple[SlideRow, ...]:
    """Returns the slides that were audited: first those with a wrong answer, then those without one; of each the surest first."""
    rows = []
    for cohort, answers in cohorts.items():
        said = _of_classes(answers, findings) if classes else _of_findings(answers, findings)
        for case, row in enumerate(answers.rows):
            about = slides[int(row)]
            score, stopped = float(answers.ood_scores[case]), bool(answers.flagged[case])
            rows.append(SlideRow(shown_name(about.case), cohort, about.site or "", said[case], score, stopped))
    return tuple(sorted(rows, key=_place))


def shown_name(case: str) -> str:
    """Returns how a slide is called where others may read it: as the CSV does, but never by a place on this machine."""
    whole = PurePosixPath(case).is_absolute() or PureWindowsPath(case).is_absolute()
    return PureWindowsPath(case).name if whole else case


def _place(row: SlideRow) -> tuple[int, float]:
    verdict = row.verdict
    return ORDER.index(verdict), -max(one.sureness for one in row.said if one.verdict == verdict)


def _of_classes(answers: Answers, classes: Sequence[str]) -> list[tuple[Said, ...]]:
    claims, best = likeliest(answers), likeliest_class(answers)
    of = np.where((answers.labels == 1).any(axis=1), (answers.labels == 1).argmax(axis=1), -1)
    told: list[tuple[Said, ...]] = []
    for case, at in enumerate(best):
        name, truth = classes[at], "not known" if of[case] < 0 else classes[of[case]]
        words = name if claims.decisions[case, 0] >= 0 else _why(claims.reasons[case, 0])
        p = float(claims.probabilities[case, 0])
        told.append((Said(name, truth, p, words, _verdict(claims, case, 0), p),))
    return told


def _of_findings(answers: Answers, findings: Sequence[str]) -> list[tuple[Said, ...]]:
    truths, calls = {1.0: "present", 0.0: "absent"}, {1: "present", 0: "absent"}
    sureness = np.maximum(answers.probabilities, 1 - answers.probabilities)
    return [
        tuple(
            Said(
                name,
                truths.get(float(answers.labels[case, at]), "not known"),
                float(answers.probabilities[case, at]),
                calls.get(int(answers.decisions[case, at])) or _why(answers.reasons[case, at]),
                _verdict(answers, case, at),
                float(sureness[case, at]),
            )
            for at, name in enumerate(findings)
        )
        for case in range(len(answers))
    ]


def _why(reason: str) -> str:
    return NO_ANSWER.get(Reason(reason), f"no answer: {reason.replace('_', ' ')}")


def _verdict(answers: Answers, case: int, finding: int) -> Verdict:
    decided, truth = answers.decisions[case, finding], answers.labels[case, finding]
    if decided < 0:
        return "none"
    if np.isnan(truth):
        return "unknown"
    return "right" if decided == truth else "wrong"
