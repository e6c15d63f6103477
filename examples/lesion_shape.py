"""Round or irregular? Five doubts of one small model, alone and together, at home, on another scanner and on real shapes.

    python examples/lesion_shape.py [--out DIR] [--quick] [--shapes DIR]

The model is a black box to everything measured here: arrays go in, logits and features come out. What is measured, and what it
shows, is told in docs/lesion-shape.md. Figures of simulated lesions say how the methods behave, and nothing of real ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import vesalius.metrics as vm
import vesalius.uncertainty as vu
from lesion_data import ELSEWHERE, HOME, Pictures, cohort, hippocampus
from vesalius.uncertainty.folds import patient_folds

MODELS = 5
SIMULATED = (AT_HOME, ELSEWHERE_NAME) = ("at home", "another scanner")
COLOURS = ("#7f7f7f", "#1f5a99", "#d18f2c", "#5b8c3a", "#7b5ea7", "#c0504d")
VIEWS = vu.random_chains(24, length=2, strength=0.8, sided=False)
"""Ways to look again; a lesion in a picture has no left and right."""


class SmallNetwork(nn.Module):
    """Four strided convolutions, a mean, one logit: irregular."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 64, 64)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.encoder, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (case,) and features (case, 64)."""
        features = self.encoder(images).mean(dim=(2, 3))
        return self.head(features)[:, 0], features


def train(data: Pictures, *, seed: int, epochs: int) -> SmallNetwork:
    """One member: the pictures that are clearly round or irregular, at most two of one kind for three of the other."""
    keep = balanced(data.labels, seed)
    images, labels = torch.from_numpy(data.images[keep])[:, None], torch.from_numpy(data.labels[keep]).float()
    torch.manual_seed(seed)
    network = SmallNetwork()
    steps = epochs * max(len(images) // 32, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,))
        turns = int(torch.randint(4, ()))  # training knows rotations by a quarter, and nothing of other scanners
        logits, _ = network(torch.rot90(images[batch], turns, (2, 3)))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def balanced(labels: np.ndarray, seed: int) -> np.ndarray:
    """Numbers of the labelled pictures, the more frequent kind thinned to three for two of the other."""
    kinds = [np.flatnonzero(labels == kind) for kind in (0, 1)]
    most = int(1.5 * min(len(kind) for kind in kinds))
    random = np.random.default_rng(seed)
    return np.sort(np.concatenate([random.permutation(kind)[:most] for kind in kinds]))


@dataclass(frozen=True)
class Ensemble:
    """Five members, each trained without one fold of the patients: what a laboratory is left with after cross-validation."""

    members: tuple[SmallNetwork, ...]

    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (member, case) and features (case, dim), the members' side by side."""
        with torch.inference_mode():
            seen = [member(torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))[:, None]) for member in self.members]
        return np.stack([logits.numpy() for logits, _ in seen]).astype(np.float64), np.concatenate(
            [f.numpy() for _, f in seen], axis=1
        )

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Mean over the members, (case,)."""
        return self.look(images)[0].mean(axis=0)


def build(data: Pictures, epochs: int) -> Ensemble:
    """Splits the patients in five and trains five members."""
    fold = patient_folds(data.patients, data.labels[:, None], folds=MODELS)
    return Ensemble(tuple(train(data.take(fold != held), seed=held, epochs=epochs) for held in range(MODELS)))


@dataclass(frozen=True)
class Fitted:
    """Everything that is learnt from the reference patients, whom no member has seen."""

    ensemble: Ensemble
    calibrator: vu.Temperature
    foreignness: vu.Mahalanobis
    search: vu.GreedyPolicySearch
    combination: vu.Combination


def pool_of(ensemble: Ensemble, images: np.ndarray) -> np.ndarray:
    """Mean logits of every view of every picture, (view, case, 1)."""
    return np.stack([ensemble.logits(view.apply(images))[:, None] for view in VIEWS])


def learn(ensemble: Ensemble, training: Pictures, reference: Pictures, policy_length: int) -> Fitted:
    """Temperature, distance in feature space, views worth averaging, and the scale of each doubt."""
    labels = reference.labels[:, None]
    calibrator = vu.Temperature().fit(ensemble.logits(reference.images)[:, None], labels)
    logits, features = ensemble.look(training.images)
    foreignness = vu.Mahalanobis("single").fit(features.astype(np.float64), logits.mean(axis=0)[:, None])
    known = ~np.isnan(labels[:, 0])
    search = vu.GreedyPolicySearch(task="multilabel", length=policy_length).fit(
        pool_of(ensemble, reference.images)[:, known], labels[known]
    )
    fitted = Fitted(ensemble, calibrator, foreignness, search, vu.Combination())
    fitted.combination.fit(doubts(fitted, reference.images)[1])
    return fitted


def doubts(fitted: Fitted, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Calibrated probability of `irregular` for each picture, and every doubt of it, higher = less sure."""
    logits, features = fitted.ensemble.look(images)
    members = np.stack([fitted.calibrator.calibrate(one[:, None])[:, 0] for one in logits])
    p = fitted.calibrator.calibrate(logits.mean(axis=0)[:, None])[:, 0]
    pool = np.stack([fitted.calibrator.calibrate(view)[:, 0] for view in pool_of(fitted.ensemble, images)])
    found = pool[list(fitted.search.policy)]
    return p, {
        "softmax distance": np.minimum(p, 1 - p),
        "ensemble spread": vu.std_of_probabilities(members),
        "all views: spread": vu.std_of_probabilities(pool),
        "policy: softmax distance": np.minimum(found.mean(axis=0), 1 - found.mean(axis=0)),
        "latent distance": fitted.foreignness.score(features.astype(np.float64)),
    }


def measure(fitted: Fitted, sets: dict[str, Pictures], resamples: int) -> dict[str, Any]:
    """How good the model is on each set, and which doubt finds its errors."""
    answers: dict[str, Any] = {}
    cases: dict[str, vu.FailureCases] = {}
    home = next(iter(sets.values()))
    at_home = doubts(fitted, home.images)[1]
    for name, data in sets.items():
        p, measures = doubts(fitted, data.images)
        measures["all together"] = fitted.combination.score(measures)
        labels = data.labels
        wrong = np.where(np.isnan(labels), np.nan, (p >= 0.5) != (labels == 1))
        report = vu.evaluate(p[:, None], labels[:, None], data.patients, options=vu.EvaluationOptions(resamples=resamples))
        row = report.findings["finding 0"]
        answers[name] = {key: row[key].to_json() for key in ("auroc", "ece", "nll")} | {
            "n": row["n"],
            "patients": row["n_patients"],
        }
        answers[name] |= {"ambiguous": int(np.isnan(labels).sum()), "error": float(np.nanmean(wrong))}
        answers[name]["foreign"] = foreignness((at_home, home.patients), (measures, data.patients), resamples)
        answers[name]["doubt_in_the_ambiguous"] = ambiguity(data, measures["all together"], resamples)
        cases[name] = vu.FailureCases(measures, wrong, data.patients)
    rows = vu.failure_detection_over_sets(cases, baseline="softmax distance", resamples=resamples)
    policy = [VIEWS[number].name for number in fitted.search.policy]
    return {"answers": answers, "failures": [row.to_json() for row in rows], "policy": policy, "curves": rows}


def foreignness(
    home: tuple[dict[str, np.ndarray], np.ndarray], there: tuple[dict[str, np.ndarray], np.ndarray], resamples: int
) -> dict[str, Any]:
    """Can a doubt tell this set from home, picture by picture? An AUROC of each; 0.5 for home itself."""
    found = {}
    for name, scores in home[0].items():
        told = vu.ood_metrics(scores, there[0][name], patients=(home[1], there[1]), resamples=resamples)
        found[name] = told.auroc.to_json()
    return found


def ambiguity(data: Pictures, doubt: np.ndarray, resamples: int) -> dict[str, Any]:
    """Is the doubt higher for pictures between round and irregular, which training never saw? An AUROC."""
    between = np.isnan(data.labels).astype(float)
    return vm.bootstrap_ranking(between[:, None], doubt[:, None], data.patients, resamples=resamples).auroc[0].to_json()


def draw(study: dict[str, Any], path: Path) -> None:
    """ROC of every doubt as a detector of wrong answers, one panel a set."""
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    names = list(study["answers"])
    figure, panels = plt.subplots(1, len(names), figsize=(4.2 * len(names), 4.1), layout="constrained", squeeze=False)
    colours = dict(zip(dict.fromkeys(row.measure for row in study["curves"]), COLOURS, strict=False))
    for axes, name in zip(panels[0], names, strict=True):
        error = study["answers"][name]["error"]
        axes.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8, ls=":")
        for row in (row for row in study["curves"] if row.cases == name and row.roc is not None):
            label, width = f"{row.measure} {row.auroc.value:.2f}", 2.4 if row.measure == "all together" else 1.2
            axes.plot(row.roc.false_positive_rate, row.roc.true_positive_rate, color=colours[row.measure], lw=width, label=label)
        axes.set_title(f"{name}: {error:.0%} wrong", loc="left", fontsize=10)
        axes.set(xlabel="right answers flagged", ylabel="wrong answers flagged")
        axes.legend(frameon=False, fontsize=7.5, loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_examples(sets: dict[str, Pictures], path: Path) -> None:
    """Round, ambiguous and irregular pictures of every set."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(sets), 9, figsize=(11, 1.45 * len(sets)), layout="constrained", squeeze=False)
    for row, (name, data) in zip(panels, sets.items(), strict=True):
        kinds = [np.flatnonzero(data.labels == 0), np.flatnonzero(np.isnan(data.labels)), np.flatnonzero(data.labels == 1)]
        chosen = [kind[place] for kind in kinds for place in np.linspace(0, len(kind) - 1, 3).astype(int)]
        for axes, number in zip(row, chosen, strict=True):
            axes.imshow(data.images[number], cmap="gray", vmin=-0.4, vmax=1.1)
            axes.set_title(f"Dice {data.dice[number]:.2f}", fontsize=7)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def run(*, quick: bool = False, shapes: Path | None = None) -> tuple[dict[str, Any], dict[str, Pictures]]:
    """Simulates, trains, learns what the doubts need, measures."""
    patients, turns, epochs, resamples = (24, 3, 2, 100) if quick else (103, 8, 8, 1000)
    training = cohort(patients, HOME, seed=1, turns=turns, name="t")
    reference = cohort(max(patients // 2, 12), HOME, seed=2, turns=turns // 2 + 1, name="r")
    sets = {
        AT_HOME: cohort(patients, HOME, seed=3, turns=turns // 2 + 1, name="h"),
        ELSEWHERE_NAME: cohort(31 if not quick else 12, ELSEWHERE, seed=4, turns=turns // 2 + 1, name="e"),
    }
    if shapes is not None and shapes.is_dir():
        sets["real shapes (hippocampus)"] = hippocampus(shapes, patients=12 if quick else 100, seed=5)
    fitted = learn(build(training, epochs), training, reference, policy_length=3 if quick else 8)
    study = measure(fitted, sets, resamples)
    return study | {"temperature": float(fitted.calibrator.temperatures[0]), "training": len(training)}, sets


def main() -> None:
    """Runs the study, prints its table, writes `lesions.json` and two figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("VESALIUS_REAL_DATA", "../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("lesions"))
    parser.add_argument("--quick", action="store_true", help="a few patients: to see that it runs")
    parser.add_argument(
        "--shapes", type=Path, default=data / "msd_hippocampus", help="Task04 of the Medical Segmentation Decathlon"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a small network is faster so
    study, sets = run(quick=arguments.quick, shapes=arguments.shapes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw(study, arguments.out / "failures.png")
    draw_examples({name: data for name, data in sets.items() if name in SIMULATED}, arguments.out / "lesions.png")
    del study["curves"]
    (arguments.out / "lesions.json").write_text(json.dumps(study, indent=1))
    for name, row in study["answers"].items():
        print(f"{name}: {row['n']} pictures of {row['patients']} patients, {row['error']:.1%} wrong, AUROC {text(row['auroc'])}")
    for row in study["failures"]:
        print(f"  {row['cases']:<28}{row['measure']:<28}finds errors: AUROC {text(row['auroc'])}   AUGRC {text(row['augrc'])}")


def text(cell: dict[str, Any]) -> str:
    """A figure with its interval."""
    if cell["value"] is None or cell["low"] is None:
        return str(cell.get("reason", "not defined"))
    return f"{cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"


if __name__ == "__main__":
    main()
