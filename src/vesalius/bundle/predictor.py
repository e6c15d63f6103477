"""The five stops: read, logits, calibrate, decide, report.

Every model of this package answers through `Predictor.predict`; it brings logits and features, and everything after that is
shared. The order is locked: average the logits, calibrate, threshold and abstain, and let the out-of-distribution gate
overrule the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from vesalius.dicom.quality import quality_problem
from vesalius.types import Decision, Finding, OutOfDistribution, Prediction, Reason, View

if TYPE_CHECKING:
    from vesalius.inference.film import FilmInference, NetworkOutput
    from vesalius.types import Image
    from vesalius.uncertainty import Calibrator, DecisionPolicy, OodGate

DECISIONS = {1: Decision.PRESENT, 0: Decision.ABSENT, -1: Decision.ABSTAIN}


@dataclass(frozen=True)
class Obstacle:
    """Why a film gets no answer whatever the network says, as a code and as a sentence."""

    reason: Reason
    words: str


@dataclass(frozen=True)
class Predictor:
    """A bundle that was verified and is ready to answer; made by `vesalius.load`.

    Attributes:
        description: What `bundle.json` says.
        id: SHA-256 of the bundle's MANIFEST.json, in hex.
        inference: From films to averaged logits and features.
        calibrator: From logits to probabilities.
        policy: Thresholds and the band around each in which it abstains.
        gate: Out-of-distribution gate.
    """

    description: dict[str, Any]
    id: str
    inference: FilmInference
    calibrator: Calibrator
    policy: DecisionPolicy
    gate: OodGate

    @property
    def name(self) -> str:
        """The bundle's name."""
        return str(self.description["name"])

    @property
    def reference(self) -> str:
        """Name and the first 12 hex digits of the id, as every prediction carries it."""
        return reference(self.name, self.id)

    @property
    def findings(self) -> tuple[str, ...]:
        """What it answers to, in the order of the logits."""
        return tuple(self.description["findings"])

    @property
    def training_sites(self) -> tuple[str, ...]:
        """Sites it was trained and calibrated on; every other site is external to it."""
        return tuple(self.description["provenance"]["training_sites"])

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that must stand wherever its figures are shown."""
        return tuple(self.description["notices"])

    def predict(
        self, image: Image, case: str | None = None, *, evidence: bool = False, output: NetworkOutput | None = None
    ) -> Prediction:
        """Answers one film.

        Args:
            image: From `vesalius.read`.
            case: Its name in the answer; the image's id without one.
            evidence: Keep the patch logits, for a heat map.
            output: What the networks said of this film, where that is known already (`predict_batch`).
        """
        started = time.perf_counter()
        obstacle = self.find_obstacle(image)  # read: what was read, and is it ours to answer?
        output = output or self.inference.run([image], evidence=evidence)  # logits
        probabilities = self.calibrator.calibrate(output.logits)  # calibrate
        ood = self.measure_distance(output)
        findings, why = self.decide(output.logits[0], probabilities, obstacle or _foreign(ood))  # decide
        return Prediction(  # report: everything that is written or shown is derived from this
            case=case or image.image_id,
            image_id=image.image_id,
            bundle=self.reference,
            findings=findings,
            ood=ood,
            warnings=(*image.warnings, *why),
            seconds=time.perf_counter() - started,
            evidence=None if output.evidence is None else output.evidence[0],
        )

    def predict_batch(self, images: Sequence[Image], cases: Sequence[str] | None = None, *, evidence: bool = False) -> list[Prediction]:
        """Answers several films: one pass of the networks, the stop where films together are faster, then each as `predict` does."""
        raise NotImplementedError
