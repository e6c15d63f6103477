"""`vesalius audit --slides` on painted slides: the page of films for slides, in agreement with audit.json, naming no place."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.tissue import KINDS, MPP, SIDE, make_tissue_bundle, write_prompts, write_slides
from vesalius.cli import main

CUT = ("--patch-px", str(SIDE), "--patch-mpp", str(MPP), "--prompt-sets", "3")
N_KNOWN, N_NEW = 30, 48


def write_labels(path: Path, lines: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def about(at: int) -> dict[str, Any]:
    """Whose slide, and from where: two a patient, the last third from a site that the bundle does not know."""
    pair = at // 2
    site, scanner = "North" if at < 32 else "South", ("Alpha", "Beta")[pair % 2]
    return {"patient_id": f"Roe^Ann{pair}", "split": "test", "site": site, "scanner": scanner, "sex": "FM"[pair % 2]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`labels.csv` of classes and `pairs.csv` of findings; `classes` and `pairs` are bundles calibrated on slides of North."""
    folder = tmp_path_factory.mktemp("audit-slides")
    make_tissue_bundle(folder / "towers")
    write_prompts(folder / "classes.yaml")
    known, new = write_slides(folder / "scans", N_KNOWN, seed=1), write_slides(folder / "scans", N_NEW, seed=2, first=50)
    home = {"split": "calibration", "site": "North", "scanner": "Alpha", "sex": "F"}
    facts = [{"file": f"scans/{name}", "patient_id": f"Doe^Jo{at}", **home} for at, (name, _) in enumerate(known)]
    facts += [{"file": f"scans/{name}", **about(at)} for at, (name, _) in enumerate(new)]
    facts += [{**facts[0], "split": "test"}, {**facts[-1], "file": "scans/nowhere.tif"}]
    facts[-2]["file"] = "scans/again.tif"
    shutil.copy(folder / "scans" / "00.tif", folder / "scans" / "again.tif")
    kinds = [kind for _, kind in (*known, *new)] + [KINDS[0], KINDS[0]]
    write_labels(folder / "labels.csv", [one | {"class": kind} for one, kind in zip(facts, kinds, strict=True)])
    held = [{"Nodule": int(kind == KINDS[2]), "clear_lungs": int(kind == KINDS[1])} for kind in kinds]
    write_labels(folder / "pairs.csv", [one | labels for one, labels in zip(facts, held, strict=True)])
    one = ["calibrate", str(folder / "towers"), *CUT, "--features", str(folder / "features")]
    words = ["--prompts", str(folder / "classes.yaml"), "--coverage", "0.8"]
    assert main([*one, *words, "--slides", str(folder / "labels.csv"), "--out", str(folder / "classes")]) == 0
    words = ["--finding", "nodule", "clear lungs", "--prompt-sets", "0"]
    assert main([*one, *words, "--slides", str(folder / "pairs.csv"), "--out", str(folder / "pairs")]) == 0
    return folder


def audit(made: Path, bundle: str, labels: str, out: Path, *more: str) -> tuple[str, dict[str, Any]]:
    """The page less the script that is not ours, and audit.json."""
    copy = shutil.copytree(made / bundle, out / "bundle")
    one = ["audit", str(copy), "--slides", str(made / labels), "--out", str(out / "report"), "--resamples", "50"]
    assert main([*one, "--features", str(made / "features"), *more]) == 3, "one slide is nowhere"
    assert sorted(path.name for path in (out / "report").iterdir()) == ["audit.json", "audit.md", "index.html"]
    text = (out / "report" / "index.html").read_text()
    start = text.index("<script>", text.index('id="figures"'))
    assert "plotly.js v" in text[start : start + 300]
    kept = text[:start] + text[text.index("</script>", start) :]
    return kept, json.loads((out / "report" / "audit.json").read_text())


@pytest.fixture(scope="module")
def of_classes(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    return audit(made, "classes", "labels.csv", tmp_path_factory.mktemp("of-classes"))


def section(page: str, anchor: str) -> str:
    start = page.index(f'<section id="{anchor}">')
    return page[start : page.index("</section>", start)]


def cells(row: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]


def films_in(page: str) -> list[str]:
    """Words and figures that speak of films; there are none in an audit of slides."""
    main_part, figures = page[page.index("<header") : page.index("</main>")], page[page.index('id="figures"') :]
    return re.findall(r"\b[Ff]ilms?\b", re.sub(r"<[^>]+>", " ", main_part) + figures)


def test_the_page_says_the_figures_of_audit_json(of_classes: tuple[str, dict[str, Any]]) -> None:
    page, document = of_classes
    assert [key["id"] for key in document["key_figures"] if key["cohort"] == "external"]
    for key in document["key_figures"]:
        assert key["text"] in page
        assert key["range"] in page
    for name in ("internal", "external"):
        classes = document["cohorts"][name]["classes"]
        assert f'{classes["balanced_accuracy"]["value"]:.3f} <span class="range">' in section(page, "classes")
        assert f"{100 * classes['coverage']['value']:.1f} %" in section(page, "classes")
        for one in document["cohorts"][name]["findings"].values():
            assert f'{one["auroc"]["value"]:.3f} <span class="range">' in section(page, "discrimination")
    assert "1 calibrated on, 1 file missing" in section(page, "verdict")
    stops = document["cohorts"]["internal"]["abstention"]["by_reason"]
    assert sum(stops.values()) == document["cohorts"]["internal"]["n_films"] == 32
    assert f"<td>{stops['out_of_distribution']}</td>" in section(page, "verdict")
    assert document["made"]["seconds"] > 0
    assert not films_in(page)


def test_what_is_taken_for_what_agrees_with_the_table_of_slides(of_classes: tuple[str, dict[str, Any]]) -> None:
    page, document = of_classes
    rows = [cells(row) for row in re.findall(r"<tr><th scope=\"row\" class=\"name\">.*?</tr>", section(page, "slides"))]
    assert len(rows) == N_NEW == document["slides"]["n"]
    home = [row for row in rows if row[1] == "North"]
    confusion = document["cohorts"]["internal"]["classes"]["confusion"]
    for truth in KINDS:
        for said in KINDS:
            assert confusion["answered"][truth][said] == sum((row[2], row[5]) == (truth, said) for row in home)
            assert confusion["likeliest"][truth][said] == sum((row[2], row[3]) == (truth, said) for row in home)
        assert confusion["no_answer"][truth] == sum(row[2] == truth and row[5].startswith("no answer") for row in home)
    wrong = [row[5] in KINDS and row[5] != row[2] for row in rows]
    assert wrong == sorted(wrong, reverse=True), "the wrong answers come first"
    assert {row[0] for row in rows} == {f"scans/{number}.tif" for number in range(50, 50 + N_NEW)}


def test_neither_page_nor_figures_name_a_patient_or_a_place(made: Path, of_classes: tuple[str, dict[str, Any]]) -> None:
    page, document = of_classes
    for text in (page, json.dumps(document)):
        assert "Roe^" not in text
        assert "Doe^" not in text
        assert str(made) not in text
    assert "scans/" not in json.dumps(document), "slides are named on the page alone"
    assert "<img" not in page, "pictures only when asked for"
    assert not re.findall(r"https?://", page)
    assert "default-src 'none'" in page


def test_a_whole_path_in_the_labels_is_shown_as_a_name(made: Path, tmp_path: Path) -> None:
    with (made / "labels.csv").open() as file:
        lines = [row | {"file": str(made / row["file"])} for row in csv.DictReader(file)]
    write_labels(tmp_path / "labels.csv", lines)
    page, _ = audit(made, "classes", str(tmp_path / "labels.csv"), tmp_path)
    assert str(made) not in page
    assert "</span>50.tif</th>" in page


def test_subgroups_are_columns_of_the_labels(made: Path, of_classes: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    page, document = of_classes
    blocks = document["subgroups"]["cohorts"]["internal"]["blocks"]
    assert [block["by"] for block in blocks] == ["site", "scanner", "sex"], "of the usual ones those that there are"
    assert [(group["value"], group["n"]) for group in blocks[1]["groups"]] == [("Alpha", 16), ("Beta", 16)]
    assert blocks[0]["groups"][0]["pooled"]["accuracy"]["value"] == pytest.approx(
        document["cohorts"]["internal"]["classes"]["accuracy"]["value"]
    )
    assert "Alpha" in section(page, "subgroups")
    with (made / "labels.csv").open() as file:
        lines = [row | {"stain": "pale"} for row in csv.DictReader(file)]
    asked = write_labels(made / "stains.csv", lines)
    page, document = audit(made, "classes", asked.name, tmp_path, "--by", "stain,lab,patient_id")
    blocks = document["subgroups"]["cohorts"]["internal"]["blocks"]
    assert [(block["by"], block["absent"]) for block in blocks] == [
        ("stain", None),
        ("lab", "there is no such column"),
        ("patient_id", "there is no such column"),
    ]
    assert "Roe^" not in page + json.dumps(document)


def test_pictures_show_the_slide_and_its_patches(made: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (made / "features").rglob("*.h5")}
    page, document = audit(made, "classes", "labels.csv", tmp_path, "--images")
    assert before == {path: path.stat().st_mtime_ns for path in (made / "features").rglob("*.h5") if path in before}
    shown = section(page, "films")
    pairs = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown)
    assert len(pairs) == 2 * shown.count("<figure") > 0
    slide, overlay = (np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(one)))).astype(int) for one in pairs[:2])
    assert slide.shape == overlay.shape
    edge = overlay[2:8, 2:8].reshape(-1, 3)
    assert np.ptp(edge, axis=1).max() < 12, "no patch at the corner: grey"
    assert np.ptp(overlay.reshape(-1, 3), axis=1).max() > 60, "colour where patches are"
    assert "base64" not in json.dumps(document)
    assert str(made) not in page


def test_findings_have_the_page_of_films(made: Path, tmp_path: Path) -> None:
    page, document = audit(made, "pairs", "pairs.csv", tmp_path, "--images")
    assert 'id="classes"' not in page
    for one in document["cohorts"]["internal"]["findings"].values():
        assert f"{one['threshold']:.3f}" in section(page, "decisions")
        assert f"{100 * one['sensitivity']['value']:.1f} %" in section(page, "decisions")
        assert f"{one['nll_change']['value']:+.3f}".replace("-", "−").replace("+0.000", "0.000") in section(page, "calibration")
    wanted = set(re.findall(r'data-figure="([^"]+)"', page))
    embedded = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert wanted == set(embedded)
    assert "risk:nodule" in wanted
    assert not films_in(page)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here to lay the page out")
def test_on_a_phone_the_page_is_no_wider_than_the_screen(made: Path, tmp_path: Path) -> None:
    audit(made, "classes", "labels.csv", tmp_path, "--images")
    (tmp_path / "frame.html").write_text(
        '<!doctype html><body><iframe src="report/index.html" style="width:390px;height:9000px;border:0"></iframe><script>'
        "addEventListener('load', () => setTimeout(() => { var page = document.querySelector('iframe').contentDocument;"
        "document.title = [page.documentElement.scrollWidth, page.querySelectorAll('.js-plotly-plot').length].join() }, 3000))"
        "</script>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--allow-file-access-from-files"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=430,9000", "--virtual-time-budget=9000", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *options, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    wide, drawn = map(int, re.search(r"<title>(\d+),(\d+)</title>", done.stdout).groups())  # type: ignore[union-attr]
    assert wide <= 390
    assert drawn > 5
