"""The page: whole, self-contained, escaped, and in agreement with audit.json."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vesalius.audit.card import audit_section
from vesalius.audit.evaluate import AuditResult, audit
from vesalius.audit.gates import Gate, check_gates
from vesalius.audit.key_figures import key_figures
from vesalius.audit.options import AuditOptions
from vesalius.audit.page import TEMPLATES, percentage, signed
from vesalius.audit.report import all_figures, group_films, render, write_report

PLOTLY_STARTS = "plotly.js v"


@pytest.fixture(scope="module")
def page(result: AuditResult) -> str:
    return render(result)


def without_plotly(text: str) -> str:
    """The page less the one script that is not ours."""
    start = text.index("<script>", text.index('id="figures"'))
    assert PLOTLY_STARTS in text[start : start + 300]
    return text[:start] + text[text.index("</script>", start) :]


def test_nothing_is_fetched_from_anywhere(page: str) -> None:
    ours = without_plotly(page)
    assert not re.findall(r"https?://", ours)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", ours)
    assert "default-src 'none'" in ours  # the browser itself refuses what plotly.js might ask for
    assert page.count(PLOTLY_STARTS) == 1


def test_every_section_is_there_and_every_anchor_leads_somewhere(page: str) -> None:
    ours = without_plotly(page)
    anchors, places = re.findall(r'href="#([\w-]+)"', ours), re.findall(r'id="([\w-]+)"', ours)
    assert set(anchors) <= set(places)
    assert {"verdict", "discrimination", "calibration", "decisions", "foreign", "subgroups", "methods"} <= set(anchors)
    assert len(places) == len(set(places))


def test_every_place_for_a_figure_has_its_figure(page: str, document: dict[str, Any]) -> None:
    wanted = {html.unescape(name) for name in re.findall(r'data-figure="([^"]+)"', page)}
    embedded = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert wanted == set(embedded) == set(all_figures(document))


def test_the_figures_are_valid_plotly_and_name_only_colours_of_the_page(document: dict[str, Any]) -> None:
    from plotly.graph_objects import Figure

    text = json.dumps(all_figures(document))
    style = (TEMPLATES / "style.css").read_text()
    for name in set(re.findall(r'"@([\w-]+)"', text)):
        assert len(re.findall(rf"--{name}: ", style)) == 2, f"{name} is not a colour of both the light and the dark page"
    for spec in json.loads(re.sub(r'"@[\w-]+"', '"#123456"', text)).values():
        Figure(spec)  # raises on any property plotly does not know


def test_key_figures_and_notices_stand_on_the_page(page: str, document: dict[str, Any]) -> None:
    for key in document["key_figures"]:
        assert key["text"] in page
        assert key["range"] in page
    for notice in document["notices"]:
        assert html.escape(notice, quote=False) in page
    for cohort in document["cohorts"].values():
        for one in cohort["findings"].values():
            auroc = one["auroc"]
            assert f'{auroc["value"]:.3f} <span class="range">({auroc["low"]:.3f}–{auroc["high"]:.3f})' in page


def test_names_from_outside_cannot_become_markup(result: AuditResult, document: dict[str, Any]) -> None:
    evil = '</script><img src=x onerror="alert(1)">'
    text = json.dumps(document).replace('"nodule"', json.dumps(evil)).replace('"squares"', json.dumps(evil))
    page = without_plotly(render(replace(result, document=json.loads(text))))
    assert "<img" not in page
    assert page.count("</script>") == page.count("<script") + 1  # the plotly script was cut from its start to its end


def test_what_cannot_be_estimated_is_said(result: AuditResult, document: dict[str, Any]) -> None:
    gone = {"value": None, "low": None, "high": None, "reason": "undefined: one class only"}
    document["cohorts"]["internal"]["findings"]["nodule"] |= {"auroc": gone, "auprc": gone, "sensitivity": gone, "ece_null": None}
    document["cohorts"]["internal"]["findings"]["nodule"]["curves"]["roc"] = None
    document["cohorts"]["external"]["macro"]["auroc"] |= {"low": None, "high": None, "reason": "not estimable: one patient"}
    page = render(AuditResult(document))
    assert 'title="undefined: one class only">not estimable' in page
    assert "not estimable: one patient" in page


def test_gates_are_shown_with_their_verdict(document: dict[str, Any]) -> None:
    gates = (
        Gate("far too strict", ("cohorts", "internal", "n_films"), at_least=1e6),
        Gate("mild", ("cohorts", "internal", "n_films"), at_least=1.0),
    )
    document["gates"] = check_gates(gates, document)
    page = render(AuditResult(document))
    assert "1 of 2 gates was not met: far too strict" in page
    assert re.search(r"mild</th><td><span class=\"pass\">met", page)
    assert "REFUSED" in audit_section(document)


def test_pictures_only_when_asked_for(page: str, predictor: Any, store: Any) -> None:
    pytest.importorskip("vesalius.reporting.heatmap")
    assert "<img" not in without_plotly(page)
    shown = audit(predictor, store, AuditOptions(resamples=20, foreign_films=4, by=(), images=True))
    kinds = {film.kind for film in shown.gallery}
    assert kinds == {"error", "uncertain", "correct"}, "the gate of the squares stops no film of a square"
    assert "data:image/jpeg;base64," in without_plotly(render(shown))
    assert "base64" not in json.dumps(shown.document)
    for group in group_films(shown.gallery):
        by_cohort = [(film.cohort, film.image_id) for film in group["films"]]
        assert len(by_cohort) == len(set(by_cohort)), "one film twice under one heading"


def test_the_card_says_what_the_audit_says(document: dict[str, Any]) -> None:
    card = audit_section(document)
    assert card.startswith("## Audit")
    for cohort in document["cohorts"].values():
        assert f"{cohort['macro']['auroc']['value']:.3f} ({cohort['macro']['auroc']['low']:.3f} to" in card
    document["cohorts"]["external"] = None
    document["subgroups"]["cohorts"].pop("external")
    assert "No film from another site" in audit_section(document)


def test_files_are_written_whole(result: AuditResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["audit.json", "index.html"]
    assert json.loads((tmp_path / "report" / "audit.json").read_text()) == result.document


@pytest.mark.parametrize(("value", "text"), [(0.0314, "+0.031"), (-0.0004, "0.000"), (-0.25, "−0.250"), (0.0, "0.000")])
def test_signs(value: float, text: str) -> None:
    assert signed(value) == text


def test_percentages() -> None:
    assert percentage(0.98765) == "98.8 %"
    assert percentage(None) == "–"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here to lay the page out")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_screen(result: AuditResult, tmp_path: Path, width: int) -> None:
    write_report(result, tmp_path)
    (tmp_path / "frame.html").write_text(
        f'<!doctype html><body><iframe src="index.html" style="width:{width}px;height:9000px;border:0"></iframe><script>'
        "addEventListener('load', () => setTimeout(() => { var page = document.querySelector('iframe').contentDocument;"
        "document.title = [page.documentElement.scrollWidth, page.querySelectorAll('.js-plotly-plot').length].join() }, 3000))"
        "</script>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--allow-file-access-from-files"]
    options += [
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width + 40},9000",
        "--virtual-time-budget=9000",
        "--dump-dom",
    ]
    done = subprocess.run(
        ["chromium", *options, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    wide, n_figures = map(int, re.search(r"<title>(\d+),(\d+)</title>", done.stdout).groups())  # type: ignore[union-attr]
    assert wide <= width
    assert n_figures > 5


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (-0.0004, -0.002, 0.001, "No change is shown: the interval includes zero."),
        (-0.0002, -0.0004, -0.0001, "No change to speak of: it rounds to zero."),
        (-0.02, -0.03, -0.01, "Calibration made it better."),
        (0.02, 0.01, 0.03, "Calibration made it worse."),
        (0.02, None, None, "Too few films to say."),
    ],
)
def test_a_change_is_called_one_only_where_it_is_shown(
    document: dict[str, Any], value: float, low: float | None, high: float | None, words: str
) -> None:
    cohorts = json.loads(json.dumps(document["cohorts"]))
    cohorts["internal"]["macro"]["nll_change"] = {"value": value, "low": low, "high": high}
    row = next(row for row in key_figures(document | {"cohorts": cohorts}) if row["id"] == "nll_change")
    assert row["note"].startswith(words)
    assert "−0.000" not in row["text"]
