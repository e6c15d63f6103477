"""`vesalius zeroshot` over slides: lines, side files, flags that reach the cut, and going on after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.image_text import make_image_text_bundle
from tests.slides import tissue_picture, write_pyramid
from vesalius.cli import main
from vesalius.inference.feature_file import read_features

ASK = ("zeroshot", "bundle", "slides", "--out", "out.jsonl", "--finding", "nodule", "clear lungs")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_image_text_bundle(tmp_path / "bundle")
    (tmp_path / "slides").mkdir()
    write_pyramid(tmp_path / "slides" / "a.tif", tissue_picture(box=(32, 32, 600, 440)))
    write_pyramid(tmp_path / "slides" / "b.tif", tissue_picture(seed=1, box=(32, 32, 600, 440)), mpp=None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_a_folder_of_slides(here: Path) -> None:
    flags = ("--patch-px", "48", "--patch-mpp", "1.0", "--pooling", "top-5", "--smoothing", "scores")
    beside = ("--heatmap", "maps", "--patches", "tables", "--pyramid", "maps", "--features", "features")
    assert main([*ASK, *flags, *beside]) == 3
    first, second = lines(here)
    assert (first["case"], [finding["name"] for finding in first["findings"]]) == ("slides/a.tif", ["nodule", "clear lungs"])
    assert all(finding["probability"] is None and finding["decision"] is None for finding in first["findings"])
    assert second["error"]["code"] == "missing_spacing"
    facts = read_features(here / "features/slides/a.tif.h5").facts
    assert facts is not None
    assert (facts.patch_px, facts.patch_mpp) == (48, 1.0)
    table = pd.read_parquet(here / "tables/slides/a.tif.parquet")
    greatest = table["score:nodule"].nlargest(5).mean()
    assert first["findings"][0]["logit"] == pytest.approx(greatest, abs=1e-6), "the table holds what was pooled"
    assert (here / "maps/slides/a.tif.nodule.png").exists()
    assert (here / "maps/slides/a.tif.clear_lungs.tif").exists()


def test_what_lacks_beside_a_finished_line_is_made_and_the_line_stays(here: Path) -> None:
    flags = ("--patch-px", "48", "--patch-mpp", "1.0", "--features", "features")
    assert main([*ASK, *flags]) == 3
    before = (here / "out.jsonl").read_bytes()
    for beside, made in (("--heatmap", "a.tif.nodule.png"), ("--patches", "a.tif.parquet"), ("--pyramid", "a.tif.clear_lungs.tif")):
        assert main([*ASK, *flags, beside, "side"]) == 3
        assert (here / "side/slides" / made).exists(), beside
    assert (here / "out.jsonl").read_bytes() == before


def test_the_spread_over_prompt_sets_stands_in_the_line(here: Path) -> None:
    names = "".join(f"  - name: {name}\n    synonyms: [{name}, {name}s]\n" for name in ("lung", "heart"))
    (here / "own.yaml").write_text(f'name: own\nkind: classes\ntemplates: ["{{}}", "the {{}}"]\nfindings:\n{names}')
    words = ("zeroshot", "bundle", "slides/a.tif", "--out", "out.jsonl", "--prompts", "own.yaml", "--prompt-sets", "5")
    assert main([*words, "--features", "features"]) == 0
    (line,) = lines(here)
    assert {finding["name"] for finding in line["findings"]} == set(line["spread"])
    for finding in line["findings"]:
        told = line["spread"][finding["name"]]
        assert told["minimum"] <= told["median"] == pytest.approx(finding["logit"], abs=1e-9)
        assert told["median"] <= told["maximum"]


def test_other_ways_to_read_are_other_answers(here: Path) -> None:
    assert main([*ASK, "--mpp", "0.5"]) == 0
    assert main([*ASK, "--mpp", "0.5"]) == 0, "nothing is left to do"
    assert len(lines(here)) == 2
    assert main([*ASK, "--mpp", "0.5", "--smoothing", "features"]) == 2, "answers of another question are not mixed"
    assert main([*ASK, "--mpp", "0.5", "--overlap", "0.5"]) == 2, "nor those of another cut"


def test_slides_are_cut_as_features_are(here: Path) -> None:
    cut = ("--patch-px", "48", "--patch-mpp", "1.0", "--overlap", "0.5", "--least-tissue", "0.6")
    assert main(["features", "bundle", "slides/a.tif", "--out", "features", *cut]) == 0
    written = (here / "features/slides/a.tif.h5").stat().st_mtime_ns
    assert (
        main(["zeroshot", "bundle", "slides/a.tif", "--out", "one.jsonl", "--finding", "nodule", "--features", "features", *cut])
        == 0
    )
    assert (here / "features/slides/a.tif.h5").stat().st_mtime_ns == written, "taken up, not made again"
    (line,) = [json.loads(line) for line in (here / "one.jsonl").read_text().splitlines()]
    assert line["error"] is None
