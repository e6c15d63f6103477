"""Films read by words on the simulated cohort: towers trained on site A's reports, asked on site B, beside a supervised classifier.

    python benchmarks/simulated_words.py --work DIR [--recipe medclip|clip] [--steps 1500] [--run RUN] [--json FILE]

Simulates 900 + 200 patients with reports, trains towers of images and words on the reports of site A and a classifier on its labels
(the same encoder, size and films), and asks both about the films of site B and of site A's test patients. Every part goes on where
it stopped. Three tables: the five findings; what no label ever named (sides, sizes, places), told apart by words alone; and denial:
a text that denies a finding must lie nearer to the films without it. About 12 minutes on two cores, most of it training.

Every virtual patient descends from one CT: these figures show that the chain works and say nothing about real films.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import vesalius as vs
from vesalius.metrics import bootstrap_ranking, bootstrap_ranking_difference

FINDINGS = ("Pleural Effusion", "Pneumothorax", "Consolidation", "Nodule", "Cardiomegaly")
NEVER_NAMED = {
    # words in the report of a film: (of the first kind, of the second), and the texts that are held against each other
    "left or right effusion": ("left pleural effusion", "right pleural effusion"),
    "left or right pneumothorax": ("left pneumothorax", "right pneumothorax"),
    "large or small effusion": (
        "large left pleural effusion|large right pleural effusion",
        "small left pleural effusion|small right pleural effusion",
    ),
    "upper or lower consolidation": (
        "consolidation in the left upper lobe|consolidation in the right upper lobe",
        "consolidation in the left lower lobe|consolidation in the right lower lobe",
    ),
    "severe or mild cardiomegaly": ("severe cardiomegaly", "mild cardiomegaly"),
}  # fmt: skip
NOTICE = "Every virtual patient of this cohort descends from one CT scan."


def make_store(work: Path, patients_a: int, patients_b: int) -> Path:
    """Simulated films in a store."""
    from vesalius.cli import main as verb
    from vesalius.datasets.simulated_radiographs import CohortOptions, simulate_cohort

    if not (work / "labels.csv").exists():
        simulate_cohort(CohortOptions(out=work, patients_a=patients_a, patients_b=patients_b, size_px=192, seed=11))
        (work / "patient.key").write_bytes(b"k" * 32)
    if not (work / "store" / "manifest.parquet").exists():
        command = ["ingest", work / "cohort", "--out", work / "store", "--labels", work / "labels.csv", "--size", 192]
        verb([str(word) for word in (*command, "--patient-key", work / "patient.key", "--masks", work / "masks")])
    return work / "store"


def words_bundle(work: Path, store: Path, recipe: str, steps: int, run: Path | None) -> Any:
    """The towers as a bundle that answers any words."""
    from vesalius.cli import main as verb

    bundle = work / f"words-{recipe}"
    if not bundle.exists():
        run = run or work / f"run-{recipe}"
        if not (run / "model.json").exists():
            options = ["--recipe", recipe, "--sites", "A", "--vision", "resnet-small", "--text", "bert-small", "--size", 128]
            more = [
                "--embedding-dim",
                128,
                "--batch-size",
                32,
                "--steps",
                steps,
                "--precision",
                "bf16-mixed",
                "--learning-rate",
                1e-3,
            ]
            verb([str(word) for word in ("train", "image-text", "--store", store, "--out", run, *options, *more)])
        verb([str(word) for word in ("bundle", "import", run, "--out", bundle, "--name", f"words-{recipe}")])
    return vs.load(bundle)


def labels_bundle(work: Path, store: Path) -> Any:
    """The supervised classifier on the same films, without masks: labels against words."""
    from vesalius.cli import main as verb

    bundle = work / "labels-bundle"
    if not bundle.exists():
        learn = [
            "--sites",
            "A",
            "--encoder",
            "resnet-small",
            "--size",
            128,
            "--steps",
            720,
            "--batch-size",
            32,
            "--evidence-weight",
            0,
        ]
        verb(
            [
                str(word)
                for word in (
                    "train",
                    "classifier",
                    "--store",
                    store,
                    "--out",
                    work / "labels-run",
                    *learn,
                    "--precision",
                    "bf16-mixed",
                )
            ]
        )
        verb(
            [
                str(word)
                for word in (
                    "calibrate",
                    work / "labels-run",
                    "--store",
                    store,
                    "--out",
                    bundle,
                    "--name",
                    "labels",
                    "--notice",
                    NOTICE,
                )
            ]
        )
    return vs.load(bundle)


def films_of(work: Path, store: Path, site: str) -> tuple[list[Any], np.ndarray, np.ndarray, list[str]]:
    """Images, labels, patients and reports of one site's films that nobody was trained on."""
    from vesalius.datasets.store import Store

    manifest = Store(store).manifest
    rows = manifest[(manifest.site == site) & ((manifest.split == "test") if site == "A" else True)]
    rows = rows[rows.view_position != "LATERAL"]
    images = [vs.read(work / "cohort" / Path(path).name) for path in rows.path]
    labels = rows[[f"label:{name}" for name in FINDINGS]].to_numpy(dtype=float)
    return images, np.where(labels == -1, np.nan, labels), rows.patient_id.to_numpy(), [str(text) for text in rows.report]


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


def never_named(words: Words, reports: list[str], patients: np.ndarray) -> dict[str, Any]:
    """Are films told apart by what no label says? Films whose report says one of both things and not the other."""
    rows = {}
    lower = [report.lower() for report in reports]
    for name, sides in NEVER_NAMED.items():
        kinds = [np.array([any(text in report for text in side.split("|")) for report in lower]) for side in sides]
        truth = np.where(kinds[0] & ~kinds[1], 1.0, np.where(kinds[1] & ~kinds[0], 0.0, np.nan))
        texts = [[f"{text.capitalize()}." for text in side.split("|")] for side in sides]
        score = words.near(texts[0]) - words.near(texts[1])
        cell = bootstrap_ranking(truth[:, None], score[:, None], patients).auroc[0]
        rows[name] = {"n": int((~np.isnan(truth)).sum()), "first": int(np.nansum(truth)), "auroc": cell.to_json()}
    return rows


def denial(words: Words, labels: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """AUROC for the finding of the cosine with a text that names it, and with one that denies it: above and below one half."""
    named = np.column_stack([words.near([f"{name}."]) for name in FINDINGS])
    denied = np.column_stack([words.near([f"No {name.lower()}.", f"There is no {name.lower()}."]) for name in FINDINGS])
    both = {"named": bootstrap_ranking(labels, named, patients), "denied": bootstrap_ranking(labels, denied, patients)}
    rows = {name: {kind: found.auroc[k].to_json() for kind, found in both.items()} for k, name in enumerate(FINDINGS)}
    return rows | {"macro": {kind: found.macro_auroc.to_json() for kind, found in both.items()}}


def measure(work: Path, recipe: str, steps: int, run: Path | None, patients: tuple[int, int]) -> dict[str, Any]:
    """Everything."""
    store = make_store(work, *patients)
    asked, supervised = words_bundle(work, store, recipe, steps, run), labels_bundle(work, store)
    result: dict[str, Any] = {"recipe": recipe}
    for site in ("A", "B"):
        images, labels, owners, reports = films_of(work, store, site)
        words = Words(asked, images)
        outputs = [supervised.inference.run(images[start : start + 64]).logits for start in range(0, len(images), 64)]
        order = [supervised.findings.index(name) for name in FINDINGS]
        result[f"site {site}"] = {
            "films": len(images),
            "patients": len(set(owners)),
            "findings": ranking(words, labels, owners, np.concatenate(outputs)[:, order]),
            "never named": never_named(words, reports, owners),
            "denial": denial(words, labels, owners),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for films, runs and bundles")
    parser.add_argument("--recipe", choices=("medclip", "clip"), default="medclip")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--run", type=Path, help="a finished run of `train image-text` on this store, instead of training")
    parser.add_argument("--patients", type=int, nargs=2, default=(900, 200), metavar=("A", "B"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.work, arguments.recipe, arguments.steps, arguments.run, tuple(arguments.patients))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    for site in ("site A", "site B"):
        part = result[site]
        print(f"\n{site}: {part['films']} films of {part['patients']} patients")
        for name, row in part["findings"].items():
            print(f"  {name:<30}", *(f"{kind} {text(cell)}" for kind, cell in row.items()))
        for name, row in part["never named"].items():
            print(f"  {name:<30} {row['first']} of {row['n']}: {text(row['auroc'])}")
        for name, row in part["denial"].items():
            print(f"  {name:<30}", *(f"{kind} {text(cell)}" for kind, cell in row.items()))


def text(cell: dict[str, Any]) -> str:
    if cell["value"] is None or cell["low"] is None:
        return f"not estimable ({cell.get('reason')})"
    return f"{cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"


if __name__ == "__main__":
    main()
