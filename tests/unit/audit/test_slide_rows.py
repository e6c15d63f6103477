"""The table of slides: the worst first, in the CSV's own words, and by no place on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesalius.audit.answers import Answers
from vesalius.audit.slide_rows import SlideRow, shown_name, slide_rows
from vesalius.datasets.slide_labels import LabelledSlide


def answers(p: list[list[float]], labels: list[list[float]], decisions: list[list[int]], why: list[str]) -> Answers:
    rows, said = np.arange(len(p)), np.array(decisions)
    reasons = np.where(said < 0, np.array(why, dtype=object)[:, None], "")
    flagged = np.array([reason == "out_of_distribution" for reason in why])
    table = np.array(p)
    scores = np.where(flagged, 9.0, 1.0)
    return Answers(np.log(table), table, said, reasons, scores, flagged, rows, np.array(labels, dtype=float), rows.astype(object))


def slides(count: int) -> list[LabelledSlide]:
    return [LabelledSlide(f"s/{at}.svs", Path("/scans") / f"{at}.svs", "patient Doe", "North", ()) for at in range(count)]


def table(found: Answers, names: tuple[str, ...], *, classes: bool) -> tuple[SlideRow, ...]:
    return slide_rows({"internal": found}, slides(len(found)), names, classes=classes)


def test_of_classes_the_likeliest_and_the_worst_first() -> None:
    p = [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.95, 0.03, 0.02], [0.45, 0.4, 0.15], [0.36, 0.34, 0.3], [0.9, 0.06, 0.04]]
    labels = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [np.nan] * 3]
    none, first = [-1] * 3, [1, 0, 0]
    found = answers(
        p, labels, [first, first, none, none, none, first], ["", "", "out_of_distribution", "uncertain", "uncertain", ""]
    )
    rows = table(found, ("oak", "ash", "elm"), classes=True)
    assert [row.slide for row in rows] == [f"s/{at}.svs" for at in (1, 2, 3, 4, 0, 5)]
    assert [row.verdict for row in rows] == ["wrong", "none", "none", "none", "right", "unknown"]
    (said,) = rows[0].said
    assert (said.finding, said.truth, said.probability, said.words) == ("oak", "ash", 0.7, "oak")
    assert [row.said[0].words for row in rows[1:3]] == ["no answer: stopped by the gate", "no answer: too close to call"]
    assert rows[5].said[0].truth == "not known"
    assert [row.stopped for row in rows] == [False, True, False, False, False, False]
    assert "Doe" not in repr(rows)


def test_of_findings_each_has_a_cell() -> None:
    p = [[0.9, 0.2], [0.9, 0.45], [0.1, 0.99]]
    found = answers(p, [[1, 0], [1, 1], [np.nan, 0]], [[1, 0], [1, -1], [0, 1]], ["", "uncertain", ""])
    rows = table(found, ("nodule", "mass"), classes=False)
    assert [row.slide for row in rows] == ["s/2.svs", "s/1.svs", "s/0.svs"]
    assert [(one.finding, one.truth, one.words, one.verdict) for one in rows[0].said] == [
        ("nodule", "not known", "absent", "unknown"),
        ("mass", "absent", "present", "wrong"),
    ]
    assert rows[1].said[1].words == "no answer: too close to call"


@pytest.mark.parametrize(
    ("case", "shown"),
    [("a.svs", "a.svs"), ("slides/a.svs", "slides/a.svs"), ("/home/me/a.svs", "a.svs"), ("C:/scans/a.svs", "a.svs")],
)
def test_a_whole_path_is_a_name_only(case: str, shown: str) -> None:
    assert shown_name(case) == shown
