"""A bundle and a store small enough to audit in a second: grey squares whose brightness is the finding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vesalius.types import Decision, Finding, Image, OutOfDistribution, Prediction, Reason, View

FINDINGS = ("effusion", "nodule", "cardiomegaly")
SIZE_PX = 32
SPOTS = {
    "effusion": (slice(22, 30), slice(3, 11)),
    "nodule": (slice(4, 12), slice(20, 28)),
    "cardiomegaly": (slice(14, 24), slice(12, 22)),
}


MIDDLE = {name: 0.3 + 0.3 * (rows.start + rows.stop - 1) / 2 / (SIZE_PX - 1) + 0.17 for name, (rows, _) in SPOTS.items()}
"""Brightness of each spot half-way between with and without the finding."""


@dataclass
class SquareStore:
    """What an audit uses of a Store."""

    manifest: pd.DataFrame
    films: np.ndarray
    path: Path = Path("stores/squares")
    size_px: int = SIZE_PX

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple(name.removeprefix("label:") for name in self.manifest if name.startswith("label:"))

    def image(self, row: int) -> Image:
        about = self.manifest.iloc[row]
        return Image(pixels=self.films[row], image_id=about["image_id"], view_position=View(about["view_position"]))

    def labels(self, findings: Any = None) -> np.ndarray:
        return self.manifest[[f"label:{name}" for name in findings or self.findings]].to_numpy(dtype=np.float64)


def locked_policy() -> Any:
    """Thresholds 0.5, 0.45 and 0.4; the third answers always."""
    from vesalius.uncertainty import DecisionPolicy

    lines = [(0.5, 0.4, 0.6), (0.45, 0.35, 0.5), (0.4, 0.4, 0.4)]
    findings = [{"threshold": t, "low": low, "high": high, "rule": "f1", "note": None} for t, low, high in lines]
    return DecisionPolicy.from_json({"findings": findings})


class SquarePredictor:
    """What an audit uses of a Predictor: brightness of a spot against the film's own mean is the logit."""

    name = "squares"
    id = "ab" * 32
    reference = "squares@abababababab"
    findings = FINDINGS
    training_sites = ("A",)
    notices = ("Squares, not chests.",)

    def __init__(self) -> None:
        self.description = {"name": self.name, "findings": list(FINDINGS)}
        self.policy = locked_policy()
        self.gate = SimpleNamespace(threshold=3.0)
        self.n_asked = 0

    def predict_batch(self, images: list[Image], cases: Any = None, *, evidence: bool = False) -> list[Prediction]:
        self.n_asked += len(images)
        return [self._predict(image, evidence) for image in images]

    def _predict(self, image: Image, evidence: bool) -> Prediction:
        pixels = image.pixels
        score = self._score(pixels)
        out = score > self.gate.threshold
        found = []
        for index, name in enumerate(FINDINGS):
            logit = float(16.0 * (pixels[SPOTS[name]].mean() - MIDDLE[name]) - 0.4)
            found.append(self._finding(index, name, logit, out))
        gate = OutOfDistribution(score, self.gate.threshold, out)
        maps = np.stack([pixels[::8, ::8]] * len(FINDINGS)).astype(np.float32) if evidence else None
        return Prediction("case", image.image_id, "squares@abababababab", tuple(found), ood=gate, evidence=maps)

    def _finding(self, index: int, name: str, logit: float, out: bool) -> Finding:
        p = float(1 / (1 + np.exp(-0.8 * logit)))
        decision, reason = Decision.ABSTAIN, Reason.OUT_OF_DISTRIBUTION
        if not out:
            low, high = self.policy.low[index], self.policy.high[index]
            decision = Decision.PRESENT if p >= high else Decision.ABSENT if p <= low else Decision.ABSTAIN
            reason = Reason.UNCERTAIN if decision == Decision.ABSTAIN else None
        return Finding(name, logit, p, min(p, 1 - p), decision, reason)

    @staticmethod
    def _score(pixels: np.ndarray) -> float:
        """A film is dark at the edge, bright in its lower half, and smooth."""
        edge = float(pixels[:, :2].mean() + pixels[:2].mean())
        tilt = float(pixels[: len(pixels) // 2].mean() - pixels[len(pixels) // 2 :].mean())
        rough = float(np.abs(np.diff(pixels, axis=1)).mean())
        return 1.2 + 6 * abs(edge - 0.2) + 22 * max(0.0, tilt + 0.1) + 30 * max(0.0, rough - 0.09)


class OneOfThree(SquarePredictor):
    """The brightest of the three spots is said, or none."""

    def __init__(self) -> None:
        from vesalius.uncertainty.class_decisions import ClassPolicy

        super().__init__()
        self.policy = ClassPolicy.from_json({"coverage": 0.9, "target_risk": None, "cut": 0.6, "note": None, "seen": [True] * 3})

    def _predict(self, image: Image, evidence: bool) -> Prediction:
        told = super()._predict(image, evidence)
        logits = np.array([finding.logit for finding in told.findings])
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert told.ood is not None
        reason = Reason.OUT_OF_DISTRIBUTION if told.ood.out else Reason.UNCERTAIN if p.max() < self.policy.cut else None
        kinds = [Decision.PRESENT if share == p.max() else Decision.ABSENT for share in p]
        said = [Decision.ABSTAIN] * 3 if reason else kinds
        found = zip(told.findings, p, said, strict=True)
        findings = tuple(replace(one, probability=float(share), decision=word, reason=reason) for one, share, word in found)
        return replace(told, findings=findings)

    def _finding(self, index: int, name: str, logit: float, out: bool) -> Any:
        return Finding(name, logit)


def make_store(n_patients: int = 140, seed: int = 0, sites: tuple[str, ...] = ("A", "A", "A", "B")) -> SquareStore:
    """One to three films a patient; site B is noisier and darker."""
    random = np.random.default_rng(seed)
    rows, films = [], []
    for patient in range(n_patients):
        site, sex, age = sites[patient % len(sites)], "FM"[int(random.integers(2))], float(random.integers(18, 92))
        split = ("train", "validation", "calibration", "test", "test")[int(random.integers(5))]
        for _ in range(int(random.integers(1, 4))):
            labels = {name: float(random.random() < share) for name, share in zip(FINDINGS, (0.4, 0.3, 0.35), strict=True)}
            films.append(_film(labels, site, random))
            shown = {
                f"label:{name}": (np.nan if random.random() < 0.04 else -1.0 if random.random() < 0.03 else value)
                for name, value in labels.items()
            }
            about = {
                "image_id": f"feed{len(rows):012x}",
                "patient_id": f"p{patient:04d}",
                "site": site,
                "split": split,
                "sex": sex,
                "age_years": age,
            }
            about |= {
                "view_position": "AP" if random.random() < 0.4 else "PA",
                "portable": None,
                "rows": SIZE_PX,
                "columns": SIZE_PX,
            }
            rows.append(about | shown)
    return SquareStore(pd.DataFrame(rows), np.stack(films))


def _film(labels: dict[str, float], site: str, random: np.random.Generator) -> np.ndarray:
    height = np.linspace(0.3, 0.6, SIZE_PX)[:, None] * np.ones((1, SIZE_PX))
    for name, present in labels.items():
        height[SPOTS[name]] += 0.1 + 0.14 * present + 0.1 * random.standard_normal()
    height += (0.03 if site == "A" else 0.05) * random.standard_normal(height.shape)
    height[:, :2] = height[:2] = 0.1 + 0.03 * random.standard_normal() + (0.04 if site == "B" else 0.0)
    return np.clip(height, 0, 1).astype(np.float32)


@pytest.fixture(scope="session")
def store() -> SquareStore:
    return make_store()


@pytest.fixture
def predictor() -> SquarePredictor:
    return SquarePredictor()


@pytest.fixture
def predictor_of_classes() -> OneOfThree:
    return OneOfThree()


@pytest.fixture(scope="session")
def result(store: SquareStore) -> Any:
    """One audit for every test that only reads it."""
    from vesalius.audit.evaluate import audit
    from vesalius.audit.options import AuditOptions

    return audit(SquarePredictor(), store, AuditOptions(resamples=200, foreign_films=40))


@pytest.fixture
def document(result: Any) -> dict[str, Any]:
    import copy

    return copy.deepcopy(result.document)
