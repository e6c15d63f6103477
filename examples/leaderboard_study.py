"""Ten public CheXpert leaderboard models and eight readers, from their CSV files to a decision rule: no image, no network.

    python examples/leaderboard_study.py [--data DIR] [--out DIR] [--resamples 2000]

DIR is the folder `cheXpert-test-set-labels` of the Rajpurkar lab (or a subset of its studies). Writes `study.json` and one
figure. What it says, and what it cannot say, is told in docs/leaderboard-study.md.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

import vesalius.metrics as vm
import vesalius.uncertainty as vu
from vesalius.metrics.intervals import PatientResamples, difference_of, interval_of, macro_draws, ranking_draws, weighted_draws
from vesalius.uncertainty.folds import patient_folds

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
CONSENSUS = ("bc1", "bc2", "bc3", "bc5", "bc7")  # their majority IS the truth of this set: never compare a model with them alone
BENCHMARK = ("bc4", "bc6", "bc8")


@dataclass(frozen=True)
class Outputs:
    """What the files say, in one order of studies and findings.

    Attributes:
        patients: One name a study; in this set every patient has one study.
        truth: 1 or 0, (case, finding).
        scores: Of each model as published, (case, finding): not probabilities, some exceed 1.
        readers: Calls of each reader, 1 or 0, (case, finding).
    """

    patients: np.ndarray
    truth: np.ndarray
    scores: dict[str, np.ndarray]
    readers: dict[str, np.ndarray]


def read(folder: Path) -> Outputs:
    """Joins every file by study and by column name: three orders of columns are in use among them."""
    studies, truth = table(folder / "groundtruth.csv")
    models = sorted((folder / "example_models" / "predictions" / "standard").glob("*_predictions.csv"))
    readers = sorted((folder / "radiologists").glob("*/bc*.csv"))
    scores = {path.stem.removesuffix("_predictions"): table(path, studies)[1] for path in models}
    calls = {path.stem.removesuffix("_gt"): table(path, studies)[1] for path in readers}
    return Outputs(np.array([study.split("/")[2] for study in studies]), truth, scores, calls)


def table(path: Path, studies: list[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Names of the studies and one row each, in the order given."""
    with path.open(newline="") as file:
        rows = {row["Study"]: [float(row[name]) for name in FINDINGS] for row in csv.DictReader(file)}
    order = sorted(rows) if studies is None else studies
    return order, np.array([rows[study] for study in order])


def as_logits(scores: np.ndarray) -> np.ndarray:
    """Log odds of scores that stay inside [0, 1]; scores that do not are taken as they are. A calibrator does the rest."""
    return logit(np.clip(scores, 1e-6, 1 - 1e-6)) if scores.min() >= 0 and scores.max() <= 1 else scores


def cross_calibrated(logits: np.ndarray, truth: np.ndarray, patients: np.ndarray, seed: int = 0) -> np.ndarray:
    """Probability of each case from a calibrator that did not see its patient: one slope and one offset a finding, ten folds."""
    fold = patient_folds(patients, truth, folds=10, seed=seed)
    probabilities = np.empty_like(logits)
    for held in np.unique(fold):
        fitted = vu.Platt().fit(logits[fold != held], truth[fold != held])
        probabilities[fold == held] = fitted.calibrate(logits[fold == held])
    return probabilities


def ranking(outputs: Outputs, plan: PatientResamples) -> dict[str, Any]:
    """AUROC of each model and finding with its interval; every pair tested, the findings by DeLong, the mean by the bootstrap."""
    draws = {name: ranking_draws(outputs.truth, scores, plan)[0] for name, scores in outputs.scores.items()}
    table = {}
    for name, each in draws.items():
        cells = [interval_of(column) for column in (*each.T, macro_draws(each))]
        table[name] = {finding: cell.to_json() for finding, cell in zip((*FINDINGS, "mean"), cells, strict=True)}
    pairs = list(itertools.combinations(draws, 2))
    mean = [difference_of(macro_draws(draws[a]), macro_draws(draws[b])) for a, b in pairs]
    tests = {"mean": vm.holm([change.p_value for change in mean])}
    identical = 0
    for index, finding in enumerate(FINDINGS):
        changes = [
            vm.delong_test(outputs.truth[:, index], outputs.scores[a][:, index], outputs.scores[b][:, index]) for a, b in pairs
        ]
        identical += sum(
            np.array_equal(np.argsort(outputs.scores[a][:, index]), np.argsort(outputs.scores[b][:, index])) for a, b in pairs
        )
        tests[finding] = vm.holm([change.p_value for change in changes])
    told_apart = {name: int((np.asarray(adjusted) < 0.05).sum()) for name, adjusted in tests.items()}
    widest = int(np.argmax([abs(change.value) for change in mean]))
    return {
        "auroc": table,
        "pairs": len(pairs),
        "pairs_told_apart": told_apart,
        "pairs_in_the_same_order": identical,
        "widest": {"pair": pairs[widest], **mean[widest].to_json(), "p_holm": float(tests["mean"][widest])},
    }


def calibration(outputs: Outputs, probabilities: dict[str, np.ndarray], resamples: int) -> dict[str, Any]:
    """Calibration of each model as published (where its scores stay in [0, 1]) and cross-fitted, beside a perfect model's."""
    options = vu.EvaluationOptions(resamples=resamples, bins=10)
    rows: dict[str, Any] = {}
    for name, p in probabilities.items():
        scores = outputs.scores.get(name)
        within = scores is not None and scores.min() >= 0 and scores.max() <= 1
        raw = as_logits(scores) if scores is not None and within else None
        report = vu.evaluate(p, outputs.truth, outputs.patients, raw, findings=FINDINGS, options=options)
        macro = report.macro
        kept = ("ece", "ece_uncalibrated", "nll", "nll_uncalibrated", "nll_change", "brier", "brier_uncalibrated", "brier_change")
        rows[name] = {key: macro[key].to_json() for key in kept if key in macro} | {"ece_null": macro["ece_null"]}
        rows[name]["ece_by_finding"] = {f: report.findings[f]["ece"].to_json() for f in FINDINGS}
    return rows


def against_readers(outputs: Outputs, scores: np.ndarray, plan: PatientResamples) -> list[dict[str, Any]]:
    """Sensitivity of the scores at each benchmark reader's specificity, minus the reader's, on the same resamples of patients.

    The threshold is found again in every resample. It is found on the cases it is measured on, which flatters the scores a little.
    """
    rows = []
    for name, (index, finding) in itertools.product(BENCHMARK, enumerate(FINDINGS)):
        truth, called = outputs.truth[:, index], outputs.readers[name][:, index]
        draws = weighted_draws(sensitivities(truth, scores[:, index], called), plan)
        change = difference_of(draws[:, 0], draws[:, 1])
        reader = vm.sensitivity_specificity(truth, called)
        rows.append({"reader": name, "finding": finding, "reader_sensitivity": reader[0], "reader_specificity": reader[1]})
        rows[-1] |= {"models_sensitivity": float(draws[0, 1]), "change": change.to_json(), "p": change.p_value}
    for row, adjusted in zip(rows, vm.holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = float(adjusted)
    return rows


def sensitivities(truth: np.ndarray, score: np.ndarray, called: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From weights of the cases to the reader's sensitivity, and the scores' with no more false alarms than the reader's."""
    order = np.argsort(-score, kind="stable")

    def both(weights: np.ndarray) -> np.ndarray:
        present, absent = (weights * truth)[order], (weights * (1 - truth))[order]
        if not present.any():
            return np.full(2, np.nan)
        within = np.searchsorted(np.cumsum(absent), (absent * called[order]).sum(), side="right")
        return np.array([(present * called[order]).sum(), present[:within].sum()]) / present.sum()

    return both


def abstention(outputs: Outputs, probabilities: np.ndarray) -> dict[str, Any]:
    """Errors per study as the least sure studies go to a person: of the models, and of each reader on the very same studies."""
    wrong = ((probabilities >= 0.5) != (outputs.truth == 1)).mean(axis=1)
    doubt = np.minimum(probabilities, 1 - probabilities).max(axis=1)
    curve = vu.risk_coverage(doubt, wrong)
    readers = {name: (calls != outputs.truth).mean(axis=1) for name, calls in outputs.readers.items()}
    curves = {name: vu.risk_coverage(doubt, errors) for name, errors in readers.items()}
    at = (1.0, 0.9, 0.8, 0.7, 0.5)
    return {
        "coverage": list(at),
        "models": [curve.risk_at_coverage(share) for share in at],
        "readers": {name: [other.risk_at_coverage(share) for share in at] for name, other in curves.items()},
        "curve": (curve.coverage.tolist(), curve.risk.tolist()),
        "reader_curves": {name: (other.coverage.tolist(), other.risk.tolist()) for name, other in curves.items()},
        "aurc": vu.aurc(doubt, wrong),
        "augrc": vu.augrc(doubt, wrong),
    }


def unsure_together(outputs: Outputs, probabilities: np.ndarray, resamples: int) -> dict[str, Any]:
    """Are the models unsure where the eight readers do not agree? AUROC of the doubt for 'two or more readers differ'."""
    votes = np.sum(list(outputs.readers.values()), axis=0)
    split = (np.minimum(votes, len(outputs.readers) - votes) >= 2).astype(float)
    doubt = np.minimum(probabilities, 1 - probabilities)
    found = vm.bootstrap_ranking(split, doubt, outputs.patients, resamples=resamples)
    cells = zip((*FINDINGS, "mean"), (*found.auroc, found.macro_auroc), strict=True)
    return {
        "auroc": {name: cell.to_json() for name, cell in cells},
        "share_split": dict(zip(FINDINGS, split.mean(axis=0).tolist(), strict=True)),
    }


def failures(outputs: Outputs, probabilities: dict[str, np.ndarray], resamples: int) -> dict[str, Any]:
    """Which doubt finds the ensemble's errors best: its distance to 0 or 1, or how far the ten models are apart, or both."""
    members = np.stack([p for name, p in probabilities.items() if name != "ensemble"])
    p = probabilities["ensemble"]
    wrong = ((p >= 0.5) != (outputs.truth == 1)).astype(float)
    measures = {
        "distance to 0 or 1": np.minimum(p, 1 - p),
        "spread of the models": vu.std_of_probabilities(members),
        "mutual information": vu.mutual_information(members),
    }
    flat = {name: doubt.ravel() for name, doubt in measures.items()}
    patients = np.repeat(outputs.patients, len(FINDINGS))
    # The scale of each measure is learnt without labels here: all cases are its reference.
    flat["the three together"] = vu.Combination().fit(flat).score(flat)
    rows = vu.failure_detection_table(flat, wrong.ravel(), patients, resamples=resamples)
    return {"error": float(wrong.mean()), "measures": [row.to_json() for row in rows]}


def draw(outputs: Outputs, probabilities: dict[str, np.ndarray], study: dict[str, Any], path: Path) -> None:
    """One row of three: calibration before and after, readers beside the curve, errors as the unsure go to a person."""
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    draw_reliability(left, outputs, probabilities)
    draw_readers(middle, outputs, probabilities["ensemble"])
    answers = study["abstention"]
    for name, (coverage, risk) in answers["reader_curves"].items():
        alone = name in BENCHMARK
        label = {"bc4": "3 benchmark readers", "bc1": "5 readers who made the truth"}.get(name)
        width, height = (1.3, 2) if alone else (1.0, 1)
        right.plot(coverage, risk, color="#8a6d3b" if alone else "#cfc3ae", lw=width, label=label, zorder=height)
    right.plot(*answers["curve"], color="#1f5a99", lw=2.2, label="ten models together", zorder=3)
    right.set(xlim=(0.2, 1), ylim=(0, 0.2), xlabel="share of studies answered", ylabel="wrong calls a study (share of 5)")
    right.set_title("The unsure studies are hard for everyone", loc="left", fontsize=10)
    right.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_reliability(axes: Any, outputs: Outputs, probabilities: dict[str, np.ndarray]) -> None:
    """All findings of one model together, as published and calibrated on other patients."""
    name = "hieupham"
    sides = {"as published": (outputs.scores[name], "#c0504d"), "calibrated per finding": (probabilities[name], "#1f5a99")}
    axes.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls=":")
    for label, (p, colour) in sides.items():
        bars = [bar for bar in vm.reliability_table(outputs.truth.ravel(), p.ravel(), bins=10) if bar.n]
        x, y = np.array([bar.mean_probability for bar in bars]), np.array([bar.observed for bar in bars])
        low, high = np.array([bar.low for bar in bars]), np.array([bar.high for bar in bars])
        axes.errorbar(x, y, yerr=(y - low, high - y), color=colour, marker="o", ms=4, lw=1.4, elinewidth=0.8, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"what {name} said", ylabel="share present")
    axes.set_title("A leaderboard score is not a probability", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def draw_readers(axes: Any, outputs: Outputs, probabilities: np.ndarray) -> None:
    """ROC of the ensemble for each finding, and each benchmark reader's point beside it."""
    colours = ("#1f5a99", "#c0504d", "#5b8c3a", "#7b5ea7", "#d18f2c")
    for index, (finding, colour) in enumerate(zip(FINDINGS, colours, strict=True)):
        order = np.argsort(-probabilities[:, index], kind="stable")
        truth = outputs.truth[order, index]
        hits, alarms = np.cumsum(truth) / truth.sum(), np.cumsum(1 - truth) / (1 - truth).sum()
        axes.plot(np.append(0, alarms), np.append(0, hits), color=colour, lw=1.3, label=finding)
        for name, marker in zip(BENCHMARK, "o^s", strict=True):
            sensitivity, specificity = vm.sensitivity_specificity(outputs.truth[:, index], outputs.readers[name][:, index])
            axes.plot(1 - specificity, sensitivity, marker, color=colour, ms=6, mec="white", mew=0.6)
    axes.set(xlim=(0, 0.5), ylim=(0.3, 1.01), xlabel="1 - specificity", ylabel="sensitivity")
    axes.set_title("Ten models together, three readers (marks)", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def run(folder: Path, resamples: int) -> tuple[Outputs, dict[str, np.ndarray], dict[str, Any]]:
    """Everything but the picture."""
    outputs = read(folder)
    plan = PatientResamples.of(outputs.patients, len(outputs.truth), resamples=resamples)
    probabilities = {name: cross_calibrated(as_logits(s), outputs.truth, outputs.patients) for name, s in outputs.scores.items()}
    probabilities["ensemble"] = expit(np.mean([logit(p) for p in probabilities.values()], axis=0))
    study = {
        "studies": len(outputs.truth),
        "positives": dict(zip(FINDINGS, outputs.truth.sum(axis=0).astype(int).tolist(), strict=True)),
        "ranking": ranking(outputs, plan),
        "calibration": calibration(outputs, probabilities, resamples),
        "readers": against_readers(outputs, probabilities["ensemble"], plan),
        "abstention": abstention(outputs, probabilities["ensemble"]),
        "unsure_together": unsure_together(outputs, probabilities["ensemble"], resamples),
        "failures": failures(outputs, probabilities, resamples),
    }
    return outputs, probabilities, study


def main() -> None:
    """Reads, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("VESALIUS_REAL_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data / "chexpert_test_labels")
    parser.add_argument("--out", type=Path, default=Path("leaderboard"))
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    outputs, probabilities, study = run(arguments.data, arguments.resamples)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "study.json").write_text(json.dumps(study, indent=1))
    draw(outputs, probabilities, study, arguments.out / "study.png")
    print(json.dumps({key: study[key] for key in ("studies", "ranking", "failures")}, indent=1))


if __name__ == "__main__":
    main()
