"""Mahalanobis score of 100,000 features of 768 dimensions, 14 classes, against the formulas of pytorch-ood and OpenOOD.

    python benchmarks/mahalanobis.py [--quick] [--json]

Neither package imports beside the CPU build of torch here (both want torchvision), so their formulas are written out below, in
torch and float32 as they run them. pytorch-ood 0.4.0 multiplies by the inverse covariance once a class. OpenOOD 1.5 takes the
diagonal of a batch x batch matrix once a class, in batches of 200; it is timed on a part of the cases and scaled up. Fits are timed
as well: OpenOOD's is scikit-learn's EmpiricalCovariance. All in turns in one run, the best of several rounds; scores are compared,
after mending what the peers leave out: pytorch-ood does not divide the covariance by N and halves, so ours is 2 N times its score.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.covariance import EmpiricalCovariance

from vesalius.uncertainty import Mahalanobis

BATCH = 200


def cohort(n_cases: int, n_dims: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with a falling spectrum (variance 1 down to 1 / dim, in directions of no axis), and the class of each case."""
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(n_dims, n_dims)))[0]
    mix = (turn / np.sqrt(np.arange(1, n_dims + 1))[:, None]).astype(np.float32)
    labels = random.integers(n_classes, size=n_cases)
    centres = random.normal(size=(n_classes, n_dims)).astype(np.float32)
    return (centres[labels] + random.standard_normal((n_cases, n_dims), dtype=np.float32)) @ mix, labels


def pytorch_ood_fit(features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and inverse covariance as pytorch-ood 0.4.0 fits them: a sum, not divided by N, with 1e-6 on its diagonal."""
    means, scatter = [], torch.eye(features.shape[1], dtype=features.dtype) * 1e-6
    for index in range(int(labels.max()) + 1):
        members = features[labels == index]
        means.append(members.mean(dim=0))
        scatter += (members - means[-1]).T @ (members - means[-1])
    return torch.stack(means), torch.linalg.inv(scatter)


def pytorch_ood_score(features: torch.Tensor, means: torch.Tensor, precision: torch.Tensor) -> torch.Tensor:
    """Its score: half the least distance, one product with the inverse a class."""
    halves = []
    for mean in means:
        centred = features - mean
        halves.append(-0.5 * ((centred @ precision) * centred).sum(dim=1))
    return -torch.stack(halves, dim=1).max(dim=1).values


def openood_fit(features: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and inverse covariance as OpenOOD 1.5 fits them: scikit-learn on the cases less their class's mean."""
    means = np.stack([features[labels == index].mean(axis=0) for index in range(labels.max() + 1)])
    rest = np.concatenate([features[labels == index] - means[index] for index in range(labels.max() + 1)])
    precision = EmpiricalCovariance(assume_centered=False).fit(rest).precision_
    return torch.from_numpy(means).float(), torch.from_numpy(precision).float()


def openood_score(features: torch.Tensor, means: torch.Tensor, precision: torch.Tensor) -> torch.Tensor:
    """Its score in batches: the diagonal of a batch x batch matrix, once a class; half the least distance."""
    parts = []
    for batch in features.split(BATCH):
        halves = [-0.5 * torch.mm(torch.mm(batch - mean, precision), (batch - mean).T).diag() for mean in means]
        parts.append(-torch.stack(halves, dim=1).max(dim=1).values)
    return torch.cat(parts)


def best(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least seconds of each call over that many rounds, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times) for name, times in seconds.items()}


def measure(n_cases: int = 100_000, n_dims: int = 768, n_classes: int = 14, rounds: int = 3) -> dict[str, Any]:
    """Times all three and returns the ratios, with the greatest relative difference between their scores."""
    features, labels = cohort(n_cases, n_dims, n_classes)
    tensor, numbers = torch.from_numpy(features), torch.from_numpy(labels)
    part = tensor[: max(BATCH, n_cases // 25 // BATCH * BATCH)]
    ours = Mahalanobis("class", shrinkage=None)
    fits = best(
        {
            "ours": lambda: ours.fit(features, labels=labels),
            "pytorch_ood": lambda: pytorch_ood_fit(tensor, numbers),
            "openood": lambda: openood_fit(features, labels),
        },
        1 if rounds == 1 else 2,
    )
    theirs, open_ood = pytorch_ood_fit(tensor, numbers), openood_fit(features, labels)
    scores = best(
        {
            "ours": lambda: ours.score(features),
            "pytorch_ood": lambda: pytorch_ood_score(tensor, *theirs),
            "openood": lambda: openood_score(part, *open_ood),
        },
        rounds,
    )
    scores["openood"] *= n_cases / len(part)
    found = ours.score(features)
    double = pytorch_ood_score(tensor[:2000].double(), *pytorch_ood_fit(tensor.double(), numbers)).numpy()
    single = pytorch_ood_score(tensor[:2000], *theirs).numpy()
    same = np.abs(2 * n_cases * double / found[:2000] - 1).max()
    return {
        "what": f"Mahalanobis score of {n_cases} x {n_dims}, {n_classes} classes",
        "seconds": scores["ours"],
        "pytorch_ood_formula_seconds": scores["pytorch_ood"],
        "ratio": scores["pytorch_ood"] / scores["ours"],
        "target_ratio": 8.0,
        "openood_formula_seconds": scores["openood"],
        "openood_extrapolated_from_cases": len(part),
        "ratio_openood": scores["openood"] / scores["ours"],
        "target_ratio_openood": 50.0,
        "fit_seconds": fits["ours"],
        "fit_ratio": fits["pytorch_ood"] / fits["ours"],
        "fit_ratio_openood": fits["openood"] / fits["ours"],
        "greatest_relative_difference": float(same),
        "equal": bool(same < 1e-6),
        "greatest_relative_difference_of_their_float32": float(np.abs(2 * n_cases * single / found[:2000] - 1).max()),
        "factor_left_out": float(np.median(found[:2000] / double)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one line")
    options = parser.parse_args()
    figures = measure(10_000, rounds=1) if options.quick else measure()
    assert figures["equal"], f"scores differ by {figures['greatest_relative_difference']}"
    print(json.dumps(figures, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
