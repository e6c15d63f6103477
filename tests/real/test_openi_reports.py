"""Sections, sentences and labels of the OpenI reports: text of real radiologists, gold labels by people."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vesalius.datasets.reports import sections, sentences

DATA = Path(os.environ.get("VESALIUS_REAL_DATA", "../shared/data"))
pytestmark = [pytest.mark.real, pytest.mark.skipif(not (DATA / "reports_openi_xml.tgz").exists(), reason="no OpenI reports")]

PARTS = ("COMPARISON", "INDICATION", "FINDINGS", "IMPRESSION")
LAYOUTS = {
    "lines": "\n\n".join(f"{part}: {{{part}}}" for part in PARTS),
    "headings alone": "\n\n".join(f"{part}\n{{{part}}}" for part in PARTS),
    "one line": " ".join(f"{part}: {{{part}}}" for part in PARTS),
    "one line, small": " ".join(f"{part.capitalize()}: {{{part}}}" for part in PARTS),
}


def reports() -> list[dict[str, str]]:
    """Sections as the publisher marks them, one space between words."""
    found = []
    with tarfile.open(DATA / "reports_openi_xml.tgz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".xml") else None
            if file is None:
                continue
            tree = ElementTree.parse(io.BytesIO(file.read()))  # the publisher's own files, from this disk
            texts = {node.get("Label", ""): " ".join((node.text or "").split()) for node in tree.iter("AbstractText")}
            found.append({part: texts.get(part, "") for part in PARTS})
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sections_are_those_that_the_publisher_marked(layout: str) -> None:
    every = reports()
    assert len(every) > 2000
    wrong = 0
    for parts in every:
        found = sections(LAYOUTS[layout].format(**parts))
        wrong += any(getattr(found, part.lower()) != parts[part] for part in PARTS)
    assert wrong <= 0.01 * len(every), f"{wrong} of {len(every)}"


def test_sentences_lose_no_word_and_are_short() -> None:
    lengths = []
    for parts in reports():
        for text in (parts["FINDINGS"], parts["IMPRESSION"]):
            words = re.findall(r"[a-z]+", text.lower())
            assert re.findall(r"[a-z]+", " ".join(sentences(text)).lower()) == words
            lengths += [len(one.split()) for one in sentences(text)]
    assert sum(length > 60 for length in lengths) < 0.002 * len(lengths)
    assert sum(length < 2 for length in lengths) < 0.05 * len(lengths)


def test_labels_against_the_gold_on_the_half_that_was_not_looked_at() -> None:
    sys.path.insert(0, "benchmarks")
    try:
        from openi_reports import measure
    finally:
        sys.path.remove("benchmarks")
    result = measure(DATA / "reports_openi_index.csv", half=1, resamples=200)
    together = result["findings"]["all together"]
    assert together["n"] > 300
    assert together["precision"]["low"] > 0.8
    assert together["recall"]["low"] > 0.75
    assert result["findings"]["Effusion"]["f1"]["low"] > 0.8


def test_normal_reports_have_no_finding() -> None:
    from vesalius.datasets.report_labels import label_report

    with (DATA / "reports_openi_index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["uid"][3:]) % 2 and (row["findings"] or row["impression"])]
    healthy = {
        row["uid"]: label_report(f"FINDINGS: {row['findings']} IMPRESSION: {row['impression']}", ["No Finding"])["No Finding"]
        for row in rows
    }
    normal = [healthy[row["uid"]] for row in rows if row["negbio_gold"] == "normal"]
    diseased = [healthy[row["uid"]] for row in rows if row["negbio_gold"] not in ("", "none", "normal")]
    assert sum(normal) > 0.9 * len(normal)
    assert sum(diseased) < 0.1 * len(diseased)
