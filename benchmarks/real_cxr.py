"""The whole job on real films: fitted on NIH, tested on other NIH patients, audited on Hannover, the gate tried on other things.

    python benchmarks/real_cxr.py --out real [--init-from demo/run] [--data DIR]

Few films: wide intervals are the right answer. Where the films come from: docs/real-films.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np

from vesalius.cli import main as vesalius

FINDINGS = (
    "Infiltration", "Atelectasis", "Nodule", "Consolidation", "Effusion", "Mass", "Pleural_Thickening", "Fibrosis",
    "Cardiomegaly", "Pneumothorax", "Emphysema", "Pneumonia", "Hernia", "Edema",
)  # fmt: skip
CHECKS = ("AP view", "Female")
"""Not findings: what a working chain must be able to learn from few films."""


def write_labels(data: Path, out: Path) -> tuple[Path, Path]:
    """Writes one labels CSV a site from index.csv; Hannover's findings are unknown, so blank."""
    with (data / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    paths = []
    for site, folder in (("NIH", "cxr_nih"), ("Hannover", "cxr_hannover")):
        path = out / f"labels-{site}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "patient_id", "site", "view_position", "sex", "age_years", *FINDINGS, *CHECKS])
            for row in rows:
                if not row["path"].startswith(folder):
                    continue
                said = set(row["labels"].split("|"))
                findings = [int(name in said) for name in FINDINGS] if site == "NIH" else [""] * len(FINDINGS)
                checks = [int(row["view"] == "AP"), int(row["sex"] == "F")]
                facts = [Path(row["path"]).name, row["patient_id"], site, row["view"], row["sex"], row["age"]]
                writer.writerow([*facts, *findings, *checks])
        paths.append(path)
    return paths[0], paths[1]


def run(*arguments: object, allowed: tuple[int, ...] = (0,)) -> None:
    """Runs one verb as a user would and stops if it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ vesalius {' '.join(words)}", flush=True)
    code = vesalius(words)
    if code not in allowed:
        raise SystemExit(f"exit code {code}")


def fit(out: Path, name: str, *, steps: int, size: int, seed: int, init_from: Path | None) -> Path:
    """Trains, calibrates and audits one model; returns its folder."""
    folder = out / name
    if not (folder / "report" / "audit.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        extra = ["--init-from", init_from] if init_from else []
        where = ["--store", out / "store", "--out", folder / "run"]
        run(
            "train",
            "classifier",
            *where,
            "--encoder",
            "resnet-small",
            "--size",
            size,
            "--sites",
            "NIH",
            "--steps",
            steps,
            "--seed",
            seed,
            *extra,
        )
        run("calibrate", folder / "run", "--store", out / "store", "--out", folder / "bundle", "--name", f"nih-{name}")
        run(
            "audit",
            folder / "bundle",
            "--store",
            out / "store",
            "--out",
            folder / "report",
            "--by",
            "sex,age_band,view_position,site",
        )
    return folder


def foreign(data: Path, out: Path, bundle_path: Path) -> dict[str, dict[str, float]]:
    """Gate scores of what is no chest film against other NIH patients, and of Hannover as near shift: AUROC with interval."""
    from PIL import Image as PillowImage

    import vesalius as vs
    from vesalius.errors import UnreadableImage
    from vesalius.metrics import auroc, bootstrap

    bundle, store = vs.load(bundle_path), vs.Store(out / "store")
    scores = {}

    def score(images: list[vs.Image]) -> np.ndarray:
        predictions = bundle.predict_batch(images)
        return np.array([prediction.ood.score for prediction in predictions if prediction.ood])

    test = store.rows(split="test", sites=["NIH"])
    inside = score([store.image(int(row)) for row in test])
    scores["Hannover (near shift)"] = score([store.image(int(row)) for row in store.rows(sites=["Hannover"])])
    scores["hip film"] = score([vs.read(data / "dicom" / "RG2_J2KI.dcm")])
    tiles = [path for path in sorted((data / "hist_monuseg").glob("*.png")) if "mask" not in path.name]
    scores["H&E tiles"] = score([vs.read(path) for path in tiles])
    noise_folder = out / "noise"
    noise_folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    noise = []
    for index in range(30):
        path = noise_folder / f"{index}.png"
        PillowImage.fromarray(generator.integers(0, 256, (512, 512), dtype=np.uint8)).save(path)
        noise.append(vs.read(path))
    scores["noise"] = score(noise)
    try:
        scores["chest CR, MONOCHROME1 (a real chest film of a third source)"] = score([vs.read(data / "dicom" / "RG1_J2KI.dcm")])
    except UnreadableImage as error:
        print(f"RG1: {error.code}")
    table = {}
    for name, outside in scores.items():
        labels = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
        both = np.r_[inside, outside]
        interval = bootstrap(lambda w, y=labels, s=both: auroc(y, s, w), patients=np.arange(len(both)), resamples=1000, seed=0)
        table[name] = {"n": len(outside), "auroc": interval.value, "low": interval.low, "high": interval.high}
    return table


def change(out: Path) -> dict[str, float]:
    """Macro-AUROC of the 14 findings with pre-training on simulated films minus without, on the same films and resamples."""
    import vesalius as vs
    from vesalius.metrics import known_labels
    from vesalius.metrics.intervals import PatientResamples, ranking_draws

    store = vs.Store(out / "store")
    rows = store.rows(split="test", sites=["NIH"])
    labels = known_labels(store.labels(FINDINGS))[rows]
    plan = PatientResamples.of(store.manifest["patient_id"].to_numpy()[rows], len(rows), resamples=1000)
    draws = []
    for name in ("scratch", "pretrained"):
        answers = vs.load(out / name / "bundle").predict_batch([store.image(int(row)) for row in rows])
        logits = np.array([[answer[finding].logit for finding in FINDINGS] for answer in answers])
        draws.append(np.nanmean(ranking_draws(labels, logits, plan)[0], axis=1))
    difference = draws[1] - draws[0]  # the first draw is the films as they are
    low, high = np.percentile(difference[1:], [2.5, 97.5])
    return {"value": float(difference[0]), "low": float(low), "high": float(high)}


def show(folder: Path) -> dict[str, object]:
    """Returns the findings and the two checks of one audit, as audit.json has them."""
    return json.loads((folder / "report" / "audit.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("VESALIUS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--out", type=Path, default=Path("real"))
    parser.add_argument("--init-from", type=Path, help="a run on simulated films, e.g. demo/run")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    nih, hannover = write_labels(options.data, out)
    if not (out / "store" / "manifest.parquet").exists():
        for source, labels in (("cxr_nih", nih), ("cxr_hannover", hannover)):
            run("ingest", options.data / source, "--out", out / "store", "--labels", labels, "--size", options.size)
    results = {}
    for name, init in (("scratch", None), ("pretrained", options.init_from)):
        if name == "pretrained" and init is None:
            continue
        folder = fit(out, name, steps=options.steps, size=options.size, seed=options.seed, init_from=init)
        results[name] = {"audit": show(folder), "foreign": foreign(options.data, out, folder / "bundle")}
    if "pretrained" in results:
        results["pretrained_minus_scratch"] = change(out)
        print(json.dumps(results["pretrained_minus_scratch"]))
    (out / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
