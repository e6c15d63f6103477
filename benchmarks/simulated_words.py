"""Films read by words on the simulated cohort: towers trained on site A's reports, asked on site B, beside a supervised classifier.

    python benchmarks/simulated_words.py --work DIR [--recipe medclip|clip] [--patients 900 200] [--denials kept|dropped|half]
        [--no-names] [--steps N] [--label-steps N] [--run RUN]

Simulates 900 + 200 patients with reports (or as many as you say), trains towers of images and words on the reports of site A and a
classifier on its labels (the same encoder, size and films), and asks both about the films of site B and of site A's test patients.
Every part goes on where it stopped. `medclip` matches films and sentences by what they say; `clip` is CheXzero's: films and their
own words, no label.

Five tables. The five findings, against the classifier. The same asked in other words. What no label ever named (sides, lobes,
sizes), told apart by words alone. Denial: a text that denies a finding must lie nearer to the films without it; `--denials
dropped` trains on reports that deny nothing, which shows what the denials taught. Silence: with `--denials half`, every other
denial is struck out of the reports that teach, and films whose report denies a finding must not score higher than films whose
report leaves it out.

Every virtual patient descends from one CT: these figures show that the chain works and say nothing about real films.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

import vesalius as vs
from vesalius.metrics import bootstrap_many, bootstrap_ranking, bootstrap_ranking_difference

Recipe = Literal["medclip", "clip"]
Denials = Literal["kept", "dropped", "half"]

FINDINGS = ("Pleural Effusion", "Pneumothorax", "Consolidation", "Nodule", "Cardiomegaly")
NEVER_NAMED: dict[str, tuple[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]]] = {
    # of the first kind, of the second: what the report says of a film (pattern), and the texts that the film is held against
    "left or right effusion": (
        ("left pleural effusion", ("Left pleural effusion.",)),
        ("right pleural effusion", ("Right pleural effusion.",)),
    ),
    "left or right pneumothorax": (
        ("left pneumothorax", ("Left pneumothorax.",)),
        ("right pneumothorax", ("Right pneumothorax.",)),
    ),
    "left or right consolidation": (
        ("consolidation, left", ("Consolidation in the left lower lobe.", "Consolidation in the left upper lobe.")),
        ("consolidation, right", ("Consolidation in the right lower lobe.", "Consolidation in the right upper lobe.")),
    ),
    "upper or lower consolidation": (
        (r"consolidation, \w+ upper", ("Consolidation in the left upper lobe.", "Consolidation in the right upper lobe.")),
        (r"consolidation, \w+ lower", ("Consolidation in the left lower lobe.", "Consolidation in the right lower lobe.")),
    ),
    "left or right nodule": (
        ("nodule, left", ("Nodule, left upper lobe.", "Nodule, left lower lobe.")),
        ("nodule, right", ("Nodule, right upper lobe.", "Nodule, right lower lobe.")),
    ),
    "large or small effusion": (
        (r"large (?:\w+ )?pleural effusion", ("Large left pleural effusion.", "Large right pleural effusion.")),
        (r"small (?:\w+ )?pleural effusion", ("Small left pleural effusion.", "Small right pleural effusion.")),
    ),
    "severe or mild cardiomegaly": (
        ("severe cardiomegaly", ("Severe cardiomegaly.",)),
        ("mild cardiomegaly", ("Mild cardiomegaly.",)),
    ),
}
REPORTS_OWN = {
    "Pleural Effusion": ("Left pleural effusion.", "Right pleural effusion."),
    "Pneumothorax": ("Left pneumothorax.", "Right pneumothorax."),
    "Consolidation": ("Consolidation, left lower lobe.", "Consolidation, right upper lobe."),
    "Nodule": ("Nodule, left upper lobe.", "Nodule, right lower lobe."),
    "Cardiomegaly": ("Mild cardiomegaly.", "Severe cardiomegaly."),
}
"""As impressions of site A put it: a finding is never named there without a side, a place or a grade."""
WORDINGS: dict[str, Callable[[str], tuple[list[str], list[str]]]] = {
    "X. / No x.": lambda name: ([f"{name}."], [f"No {name.lower()}."]),
    "x / no x": lambda name: ([name.lower()], [f"no {name.lower()}"]),
    "There is x. / There is no x.": lambda name: ([f"There is {name.lower()}."], [f"There is no {name.lower()}."]),
    "the reports' own": lambda name: (list(REPORTS_OWN[name]), [f"No {name.lower()}."]),
}
NOTICE = "Every virtual patient of this cohort descends from one CT scan."
TOWERS = "--sites A --vision resnet-small --size 128 --embedding-dim 128 --precision bf16-mixed"
PAIRS = "--recipe clip --text bert-tiny --batch-size 64 --text-rate 0.3 --score information --evaluations 1"
STAGES: dict[Recipe, tuple[tuple[str, float], ...]] = {
    "medclip": (("--recipe medclip --text bert-small --batch-size 32 --learning-rate 1e-3", 1.0),),
    "clip": (
        (f"{PAIRS} --section impression --sentences all --learning-rate 1.5e-3", 2 / 3),
        (f"{PAIRS} --section both --sentences one --learning-rate 1e-3", 1 / 3),
    ),
}
"""What `train image-text` is asked for, one stage after the other, and each stage's share of the steps. Pairs alone: first whole
impressions, which say what is there and where, then single sentences, denials among them. The last weights are taken: no label
chooses."""
STEPS: dict[Recipe, int] = {"medclip": 1500, "clip": 4500}


def call(words: str, *paths: Any) -> None:
    """One command line of vesalius; `{}` stands for a path."""
    from vesalius.cli import main as verb

    left = list(paths)
    verb([str(left.pop(0)) if word == "{}" else word for word in words.split()])


def make_store(work: Path, patients_a: int, patients_b: int) -> Path:
    """Simulated films in a store."""
    from vesalius.datasets.simulated_radiographs import CohortOptions, simulate_cohort

    if not (work / "labels.csv").exists():
        simulate_cohort(CohortOptions(out=work, patients_a=patients_a, patients_b=patients_b, size_px=192, seed=11))
        (work / "patient.key").write_bytes(b"k" * 32)
    if not (work / "store" / "manifest.parquet").exists():
        paths = (work / "cohort", work / "store", work / "labels.csv", work / "patient.key", work / "masks")
        call("ingest {} --out {} --labels {} --size 192 --patient-key {} --masks {}", *paths)
    return work / "store"


def strike_denials(store: Path, out: Path, denials: Denials) -> Path:
    """The same films with reports that deny nothing, or half as much; sentences that only deny go, by our own labeler."""
    from vesalius.datasets.manifest import write_manifest
    from vesalius.datasets.store import Store

    if denials == "kept":
        return store
    if not (out / "manifest.parquet").exists():
        out.mkdir(exist_ok=True)
        if not (out / "images.h5").exists():
            os.link(store / "images.h5", out / "images.h5")
        manifest = Store(store).manifest
        chance = random.Random(7)
        reports = [strike(text, chance, 1.0 if denials == "dropped" else 0.5) for text in manifest["report"]]
        write_manifest(out / "manifest.parquet", manifest.assign(report=reports))
    return out


def strike(report: Any, chance: random.Random, share: float) -> Any:
    """One report without this share of the sentences that only deny."""
    from vesalius.datasets.report_labels import label_sentence
    from vesalius.datasets.reports import sections, sentences

    if not isinstance(report, str):
        return report
    found = sections(report)
    kept = []
    for one in sentences(found.findings):
        said = set(label_sentence(one, FINDINGS).values())
        if 0.0 not in said or said & {1.0, -1.0} or chance.random() >= share:
            kept.append(one)
    return f"FINDINGS: {' '.join(kept)} IMPRESSION: {found.impression}"


def words_bundle(work: Path, store: Path, stages: Sequence[tuple[str, float]], steps: int, name: str, run: Path | None) -> Any:
    """The towers as a bundle that answers any words."""
    bundle = work / name
    if not bundle.exists():
        before: Path | None = None
        for stage, (options, share) in enumerate(stages if run is None else ()):
            run = work / f"{name.replace('words', 'run')}-{stage + 1}"
            if not (run / "model.json").exists():
                more = f"train image-text --store {{}} --out {{}} {TOWERS} {options} --steps {round(steps * share)}"
                call(more + (" --init-from {}" if before else ""), store, run, *([before] if before else []))
            before = run
        call("bundle import {} --out {} --name " + name, run, bundle)
    return vs.load(bundle)


def labels_bundle(work: Path, store: Path, steps: int) -> Any:
    """The supervised classifier on the same films, without masks: labels against words."""
    bundle, run = work / "labels-bundle", work / "labels-run"
    if not bundle.exists():
        learn = "--sites A --encoder resnet-small --size 128 --batch-size 32 --evidence-weight 0 --precision bf16-mixed"
        learn += f" --steps {steps}"
        call("train classifier --store {} --out {} " + learn, store, run)
        call("calibrate {} --store {} --out {} --name labels --notice {}", run, store, bundle, NOTICE)
    return vs.load(bundle)


class Films(NamedTuple):
    """Frontal films of one site: images, labels, patients and reports."""

    images: list[Any]
    labels: np.ndarray
    patients: np.ndarray
    reports: list[str]


def films_of(work: Path, store: Path, site: str, split: str | None) -> Films:
    """Reads the films of a site, of one split or of all, from the DICOM files that the cohort was written as."""
    from vesalius.datasets.store import Store

    manifest = Store(store).manifest
    rows = manifest[(manifest.site == site) & (manifest.view_position != "LATERAL")]
    rows = rows[rows.split == split] if split else rows
    images = [vs.read(work / "cohort" / Path(path).name) for path in rows.path]
    labels = rows[[f"label:{name}" for name in FINDINGS]].to_numpy(dtype=float)
    return Films(images, np.where(labels == -1, np.nan, labels), rows.patient_id.to_numpy(), [str(text) for text in rows.report])


class Words:
    """Cosines of films with any texts, one tower pair."""

    def __init__(self, bundle: Any, images: list[Any]) -> None:
        from vesalius.inference.zero_shot import ImageEmbedder

        self.bundle = bundle
        embedder = ImageEmbedder(bundle.models, bundle.contract, device="cpu")
        self.films = np.concatenate([embedder.embed(images[start : start + 64]).members[0] for start in range(0, len(images), 64)])

    def near(self, texts: list[str]) -> np.ndarray:
        """Mean cosine of each film with the texts."""
        from vesalius.zeroshot.heads import embed_texts

        table = embed_texts(self.bundle.models[0], self.bundle.encode, texts)
        return np.asarray((self.films @ table.of(texts).T).mean(axis=1), dtype=float)


def ranking(words: Words, labels: np.ndarray, patients: np.ndarray, supervised: np.ndarray) -> dict[str, Any]:
    """AUROC of each finding by words and by labels, and their difference on the same resamples."""
    asked = np.column_stack([words.near([f"{name}."]) - words.near([f"No {name.lower()}."]) for name in FINDINGS])
    by = {"words": bootstrap_ranking(labels, asked, patients), "labels": bootstrap_ranking(labels, supervised, patients)}
    change = bootstrap_ranking_difference(labels, supervised, asked, patients)["auroc"]
    rows = {name: {kind: found.auroc[k].to_json() for kind, found in by.items()} for k, name in enumerate(FINDINGS)}
    rows["macro"] = {kind: found.macro_auroc.to_json() for kind, found in by.items()} | {"words minus labels": change[-1].to_json()}
    return rows


def wordings(words: Words, labels: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """Macro-AUROC of the same question in other words."""
    rows = {}
    for name, ask in WORDINGS.items():
        pairs = [ask(finding) for finding in FINDINGS]
        scores = np.column_stack([words.near(present) - words.near(absent) for present, absent in pairs])
        rows[name] = {"macro": bootstrap_ranking(labels, scores, patients).macro_auroc.to_json()}
    return rows


def never_named(words: Words, reports: list[str], patients: np.ndarray) -> dict[str, Any]:
    """Are films told apart by what no label says? Films whose report says one of both things and not the other."""
    rows = {}
    lower = [report.lower() for report in reports]
    for name, sides in NEVER_NAMED.items():
        kinds = [np.array([bool(re.search(pattern, report)) for report in lower]) for pattern, _ in sides]
        truth = np.where(kinds[0] & ~kinds[1], 1.0, np.where(kinds[1] & ~kinds[0], 0.0, np.nan))
        score = words.near(list(sides[0][1])) - words.near(list(sides[1][1]))
        cell = bootstrap_ranking(truth[:, None], score[:, None], patients).auroc[0]
        rows[name] = {"n": int((~np.isnan(truth)).sum()), "first": int(np.nansum(truth)), "auroc": cell.to_json()}
    return rows


def denial(words: Words, labels: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """AUROC for the finding of the cosine with a text that names it, and with one that denies it: above and below one half.

    `nearer` is the mean, over films with and films without the finding, of the share that lies nearer to its right text than to its
    opposite: no threshold is chosen.
    """
    named = np.column_stack([words.near([f"{name}."]) for name in FINDINGS])
    denied = np.column_stack([words.near([f"No {name.lower()}.", f"There is no {name.lower()}."]) for name in FINDINGS])
    both = {"named": bootstrap_ranking(labels, named, patients), "denied": bootstrap_ranking(labels, denied, patients)}
    rows = {name: {kind: found.auroc[k].to_json() for kind, found in both.items()} for k, name in enumerate(FINDINGS)}
    rows["macro"] = {kind: found.macro_auroc.to_json() for kind, found in both.items()}
    with_it, without, nearer = labels == 1, labels == 0, named > denied

    def balanced(weights: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            hits = (weights @ (with_it & nearer)) / (weights @ with_it)
            rejections = (weights @ (without & ~nearer)) / (weights @ without)
        each = (hits + rejections) / 2
        return np.append(each, each.mean())

    for name, cell in zip((*FINDINGS, "macro"), bootstrap_many(balanced, patients), strict=True):
        rows[name]["nearer"] = cell.to_json()
    return rows


def silence(words: Words, labels: np.ndarray, patients: np.ndarray, reports: list[str]) -> dict[str, Any]:
    """Of films that taught and have no such finding: AUROC of the score between those whose report denies it and silent ones."""
    from vesalius.datasets.report_labels import label_report

    said = np.array([[label_report(text, FINDINGS)[name] for name in FINDINGS] for text in reports])
    truth = np.where(labels != 0, np.nan, np.where(said == 0, 1.0, np.where(np.isnan(said), 0.0, np.nan)))
    scores = np.column_stack([words.near([f"{name}."]) - words.near([f"No {name.lower()}."]) for name in FINDINGS])
    found = bootstrap_ranking(truth, scores, patients)
    rows = {
        name: {"denied": int(np.nansum(truth[:, k])), "silent": int((truth[:, k] == 0).sum())} for k, name in enumerate(FINDINGS)
    }
    for k, name in enumerate(FINDINGS):
        rows[name]["auroc"] = found.auroc[k].to_json()
    return rows | {"macro": {"auroc": found.macro_auroc.to_json()}}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything."""
    work, recipe, denials = arguments.work, arguments.recipe, arguments.denials
    store = make_store(work, *arguments.patients)
    name = f"words-{recipe}" + ("" if denials == "kept" else f"-{denials}") + ("-unnamed" if arguments.no_names else "")
    taught = strike_denials(store, work / f"store-{denials}", denials)
    spoken = " --no-names" if arguments.no_names else ""
    stages = [(f"{options}{spoken}", share) for options, share in STAGES[recipe]]
    asked = words_bundle(work, taught, stages, arguments.steps or STEPS[recipe], name, arguments.run)
    supervised = labels_bundle(work, store, arguments.label_steps)
    result: dict[str, Any] = {"recipe": recipe, "denials": denials, "patients": list(arguments.patients)}
    for site in ("A", "B"):
        films = films_of(work, store, site, "test" if site == "A" else None)
        words = Words(asked, films.images)
        outputs = [supervised.inference.run(films.images[start : start + 64]).logits for start in range(0, len(films.images), 64)]
        order = [supervised.findings.index(name) for name in FINDINGS]
        result[f"site {site}"] = {
            "films": len(films.images),
            "patients": len(set(films.patients)),
            "findings": ranking(words, films.labels, films.patients, np.concatenate(outputs)[:, order]),
            "wordings": wordings(words, films.labels, films.patients),
            "never named": never_named(words, films.reports, films.patients),
            "denial": denial(words, films.labels, films.patients),
        }
    if denials == "half":
        films = films_of(work, taught, "A", "train")
        result["silence"] = silence(Words(asked, films.images), films.labels, films.patients, films.reports)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for films, runs and bundles")
    parser.add_argument("--recipe", choices=("medclip", "clip"), default="medclip")
    parser.add_argument("--denials", choices=("kept", "dropped", "half"), default="kept", help="of the reports that teach")
    parser.add_argument("--steps", type=int, help="of the towers; 1500 for medclip, 4500 for clip")
    parser.add_argument("--label-steps", type=int, default=720, help="of the classifier")
    parser.add_argument("--no-names", action="store_true", help="medclip: do not teach the bare names of findings")
    parser.add_argument("--run", type=Path, help="a finished run of `train image-text` on this store, instead of training")
    parser.add_argument("--patients", type=int, nargs=2, default=(900, 200), metavar=("A", "B"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    print(f"{result['recipe']}, denials {result['denials']}")
    for site in ("site A", "site B"):
        part = result[site]
        print(f"\n{site}: {part['films']} films of {part['patients']} patients")
        for title in ("findings", "wordings", "denial"):
            print(f" {title}")
            for name, row in part[title].items():
                print(f"  {name:<30}", *(f"{kind} {text(cell)}" for kind, cell in row.items()))
        print(" never named")
        for name, row in part["never named"].items():
            print(f"  {name:<30} {row['first']} of {row['n']}: {text(row['auroc'])}")
    for name, row in result.get("silence", {}).items():
        print(f"denied over silent: {name:<20} {row.get('denied', '')} and {row.get('silent', '')}: {text(row['auroc'])}")


def text(cell: dict[str, Any]) -> str:
    if cell["value"] is None or cell["low"] is None:
        return f"not estimable ({cell.get('reason')})"
    return f"{cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"


if __name__ == "__main__":
    main()
