"""Do learned prompts help on real films? NIH: towers trained with MedCLIP's loss on half of the patients, then the few-shot curve.

    python benchmarks/few_shot.py --out few-shot [--data DIR] [--json] [--quick]

Three groups of patients, none in two: some train the towers (sentences that we write from their labels, `--recipe medclip`), others
are drawn from to learn prompts, the rest score. Beside the learned prompts stand the same words unlearned and a linear probe on the
same embeddings. The films are few and the towers small and trained from nothing: wide intervals and low areas are the right answer.
So two checks are asked as well, view and sex, which few films suffice to learn and which no report names: what learned prompts find
there, they found without a word. With `--adapt 0` the prompts are the same for every film. Nothing here judges.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.cli import main as vesalius

FINDINGS = {
    "Infiltration": "infiltration",
    "Atelectasis": "atelectasis",
    "Nodule": "nodule",
    "Consolidation": "consolidation",
    "Effusion": "pleural effusion",
    "Mass": "mass",
    "Pleural Thickening": "pleural thickening",
    "Fibrosis": "fibrosis",
    "Cardiomegaly": "cardiomegaly",
}
"""Of the 14 those with 30 films or more; of fewer a third could not be scored. As a sentence calls them."""

CHECKS = {"AP view": lambda film: film["view"] == "AP", "Female": lambda film: film["sex"] == "F"}
"""Not findings, and in no report."""

PRESENT = ("There is {}.", "The film shows {}.", "{} is seen.")
ABSENT = ("There is no {}.", "No {} is seen.")
DENIED = 4
"""Absent findings that a report denies; the others it does not mention."""

SHARES = {"towers": 0.50, "validation": 0.10, "shots": 0.15, "scored": 0.25}
KEPT = ("films", "parameters", "seconds", "curve")
SPLITS = {
    "towers": {"towers": "train", "validation": "validation", "shots": "calibration", "scored": "test"},
    "prompts": {"towers": "calibration", "validation": "validation", "shots": "train", "scored": "test"},
}
"""The same films in two stores: who is `train` to the towers is not `train` to the prompts."""


def read_films(data: Path) -> list[dict[str, str]]:
    """Rows of index.csv that are NIH films."""
    with (data / "index.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["path"].startswith("cxr_nih/")]


def groups_of(films: list[dict[str, str]], seed: int) -> list[str]:
    """The group of each film: whole patients, shuffled."""
    patients = sorted({film["patient_id"] for film in films})
    order = np.random.default_rng(seed).permutation(len(patients))
    bounds = np.cumsum([round(share * len(patients)) for share in SHARES.values()][:-1])
    names = list(SHARES)
    group = {patients[place]: names[int(np.searchsorted(bounds, rank, side="right"))] for rank, place in enumerate(order)}
    return [group[film["patient_id"]] for film in films]


def report_of(present: set[str], random: np.random.Generator) -> str:
    """A report that says what the labels say: each finding that is present, and some of the others denied."""
    sentences = [PRESENT[random.integers(len(PRESENT))].format(word) for name, word in FINDINGS.items() if name in present]
    absent = [word for name, word in FINDINGS.items() if name not in present]
    denied = random.choice(absent, size=min(DENIED, len(absent)), replace=False)
    sentences += [ABSENT[random.integers(len(ABSENT))].format(word) for word in denied]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in random.permutation(sentences))


def write_labels(data: Path, out: Path, seed: int) -> None:
    """Writes the two labels CSVs, which differ in the splits alone."""
    films = read_films(data)
    groups, random = groups_of(films, seed), np.random.default_rng([seed, 1])
    said = [{name.replace("_", " ") for name in film["labels"].split("|")} for film in films]
    reports = [report_of(labels, random) for labels in said]
    for store, splits in SPLITS.items():
        with (out / f"labels-{store}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "patient_id", "site", "view_position", "report", "split", *FINDINGS, *CHECKS])
            for film, group, labels, report in zip(films, groups, said, reports, strict=True):
                facts = [Path(film["path"]).name, film["patient_id"], "NIH", film["view"], report, splits[group]]
                checks = (int(asked(film)) for asked in CHECKS.values())
                writer.writerow([*facts, *(int(name in labels) for name in FINDINGS), *checks])


def run(*arguments: object) -> dict[str, Any]:
    """Runs one verb as a user would and returns the object of its `--json`; stops if it fails."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = vesalius([*map(str, arguments), "--json"])
    if code:
        raise SystemExit(f"vesalius {' '.join(map(str, arguments))}: exit code {code}")
    lines = told.getvalue().strip().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def make_towers(data: Path, out: Path, settings: argparse.Namespace) -> Path:
    """Ingests the films, trains the towers and returns their bundle."""
    if not (out / "towers" / "bundle.json").exists():
        write_labels(data, out, settings.seed)
        for store in SPLITS:
            labels = ["--labels", out / f"labels-{store}.csv", "--size", settings.size]
            run("ingest", data / "cxr_nih", "--out", out / f"store-{store}", *labels)
        shape = ["--recipe", "medclip", "--vision", "resnet-small", "--text", "bert-tiny", "--size", settings.size]
        length = ["--embedding-dim", 128, "--context-length", 24, "--steps", settings.tower_steps, "--batch-size", 32]
        more = ["--section", "whole", "--seed", settings.seed, "--findings", ",".join(FINDINGS)]
        run("train", "image-text", "--store", out / "store-towers", "--out", out / "run-towers", *shape, *length, *more)
        run("bundle", "import", out / "run-towers", "--out", out / "towers")
    return out / "towers"


def measure(data: Path, out: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """The curves, with and without adapting to the film."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    towers = make_towers(data, out, settings)
    trained_s = time.perf_counter() - started
    curves = {}
    for asked, names in {"findings": FINDINGS, "checks": CHECKS}.items():
        for hidden in settings.adapt:
            where = ["--store", out / "store-prompts", "--out", out / f"{asked}-{hidden}", "--findings", ",".join(names)]
            protocol = ["--shots", settings.shots, "--repeats", settings.repeats, "--steps", settings.steps, "--batch-size", 16]
            protocol += ["--context", settings.context] if settings.context else []
            found = run("train", "prompts", towers, *where, *protocol, "--hidden", hidden, "--seed", settings.seed)
            curves[f"{asked}, meta-network of width {hidden}"] = {key: found[key] for key in KEPT}
    scored = next(iter(curves.values()))["films"]["scored"]
    return {
        "what": f"few-shot curve on {scored} NIH films of patients never learned from",
        "findings": list(FINDINGS),
        "checks": list(CHECKS),
        "seconds_towers": trained_s,
        "curves": curves,
    }


def show(result: dict[str, Any]) -> None:
    """Prints one row a point."""
    for name, found in result["curves"].items():
        print(f"\n{name}: {found['parameters']} learned numbers, {found['seconds']:.0f} s")
        print("| method | shots | films | macro AUROC (95 %) | least to greatest draw | minus hand-written | minus probe |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for row in found["curve"]:
            repeats = row["repeats"]
            spread = f"{repeats['least']:.3f} to {repeats['greatest']:.3f}" if repeats["n"] > 1 else ""
            cells = [row["method"], row["shots"], f"{row['films']:.0f}", interval(row["macro_auroc"]), spread]
            cells += [interval(row.get("minus_hand_written")), interval(row.get("minus_linear_probe"))]
            print(f"| {' | '.join(cells)} |")


def interval(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["low"] is None:
        return "" if figure is None else f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}, {figure['high']:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("VESALIUS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--out", type=Path, default=Path("few-shot"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--tower-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--shots", default="0,1,2,4,8,16,full")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--adapt", type=int, nargs="+", default=[16, 0], help="widths of the meta-network; 0 = none")
    parser.add_argument("--context", default="there is", help="words that the prompts begin as; '' begins at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    settings = parser.parse_args()
    if settings.quick:
        settings.tower_steps, settings.steps, settings.shots, settings.repeats, settings.size = 3, 3, "0,1,full", 1, 64
    result = measure(settings.data, settings.out, settings)
    show(result)
    if settings.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
