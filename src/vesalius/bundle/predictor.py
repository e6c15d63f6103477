"""The five stops: read, logits, calibrate, decide, report.

Every model of films answers through `Predictor.predict`, every model of slides through `SlidePredictor.predict`; it brings logits
and features, and everything after that is shared. The order is locked: average the logits, calibrate, threshold and abstain, and
let the out-of-distribution gate overrule the answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from vesalius.bundle.format import ZERO_SHOT, reference
from vesalius.dicom.quality import quality_problem
from vesalius.types import Decision, Finding, OutOfDistribution, Prediction, Reason

if TYPE_CHECKING:
    from vesalius.inference.film import FilmInference, NetworkOutput
    from vesalius.inference.learned_prompts import LearnedPromptInference
    from vesalius.inference.zero_shot import ZeroShotInference
    from vesalius.types import Image
    from vesalius.uncertainty import Calibrator, DecisionPolicy, OodGate
    from vesalius.uncertainty.class_decisions import ClassPolicy

DECISIONS = {1: Decision.PRESENT, 0: Decision.ABSENT, -1: Decision.ABSTAIN}


@dataclass(frozen=True)
class Obstacle:
    """Why a film gets no answer whatever the network says, as a code and as a sentence."""

    reason: Reason
    words: str


@dataclass(frozen=True)
class Locked:
    """What stands behind the logits of a bundle that was verified, whatever is read: the rules, and who they are.

    Attributes:
        description: What `bundle.json` says.
        id: SHA-256 of the bundle's MANIFEST.json, in hex.
        calibrator: From logits to probabilities.
        policy: When a finding is present, absent, or not answered.
        gate: Out-of-distribution gate.
    """

    description: dict[str, Any]
    id: str
    calibrator: Calibrator
    policy: DecisionPolicy | ClassPolicy
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

    def measure_distance(self, output: NetworkOutput) -> OutOfDistribution:
        """Returns how foreign one case is to those the bundle was calibrated on."""
        score, threshold = float(self.gate.score(output.features, output.logits)[0]), float(self.gate.threshold)
        return OutOfDistribution(score=score, threshold=threshold, out=not score <= threshold)

    def decide(
        self,
        logits: Float64[np.ndarray, " finding"],
        probabilities: Float64[np.ndarray, " finding"],
        obstacle: Obstacle | None,
    ) -> tuple[Finding, ...]:
        """Returns each finding's decision: an obstacle overrules the thresholds and the band around them."""
        codes = self.policy.decide(probabilities[None])[0]
        return tuple(
            _settle(Finding(name, float(logit)), float(probability), DECISIONS[int(code)], obstacle)
            for name, logit, probability, code in zip(self.findings, logits, probabilities, codes, strict=True)
        )


@dataclass(frozen=True)
class Predictor(Locked):
    """A bundle that answers films, verified and ready; made by `vesalius.load`.

    Attributes:
        inference: From films to averaged logits and features.
    """

    inference: FilmInference | ZeroShotInference | LearnedPromptInference

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
        obstacle = self.find_obstacle(image)  # read: is what was read ours to answer?
        output = output or self.inference.run([image], evidence=evidence)  # logits
        probabilities = self.calibrator.calibrate(output.logits)  # calibrate
        ood = self.measure_distance(output)
        obstacle = obstacle or foreign(ood)
        findings = self.decide(output.logits[0], probabilities[0], obstacle)  # decide
        return Prediction(  # report: everything written or shown is derived from this
            case=case or image.image_id,
            image_id=image.image_id,
            bundle=self.reference,
            findings=findings,
            ood=ood,
            warnings=(*image.warnings, *([obstacle.words] if obstacle else [])),
            seconds=time.perf_counter() - started,
            evidence=None if output.evidence is None else output.evidence[0],
            evidence_of="contrasts" if self.description.get("kind") == ZERO_SHOT else "logits",
        )

    def predict_batch(
        self, images: Sequence[Image], cases: Sequence[str] | None = None, *, evidence: bool = False
    ) -> list[Prediction]:
        """Answers several films: one pass of the networks, where films together are faster, then each as `predict` does."""
        if not images:
            return []
        started = time.perf_counter()
        outputs = self.inference.run(images, evidence=evidence).cases()
        share_s = (time.perf_counter() - started) / len(images)
        names = [None] * len(images) if cases is None else cases
        answers = [self.predict(image, case, output=output) for image, case, output in zip(images, names, outputs, strict=True)]
        return [replace(answer, seconds=answer.seconds + share_s) for answer in answers]

    def find_obstacle(self, image: Image) -> Obstacle | None:
        """Returns why this film cannot be answered, whatever the network says of it; None where it can."""
        views = self.description["assessable_views"]
        if image.view_position is not None and image.view_position not in views:
            words = f"a film of view {image.view_position}; this bundle reads {' and '.join(views)} only"
            return Obstacle(Reason.NOT_ASSESSABLE, words)
        problem = quality_problem(image)
        return None if problem is None else Obstacle(Reason.POOR_QUALITY, problem)


def foreign(ood: OutOfDistribution, what: str = "films") -> Obstacle | None:
    """Returns the gate's veto; `what` is what the bundle was calibrated on."""
    if not ood.out:
        return None
    words = f"unlike the {what} this bundle was calibrated on: its score of {ood.score:.3g} is above {ood.threshold:.3g}"
    return Obstacle(Reason.OUT_OF_DISTRIBUTION, words)


def _settle(finding: Finding, probability: float, decision: Decision, obstacle: Obstacle | None) -> Finding:
    """The numbers stay on record behind a withheld answer, but of a view it cannot read there is no probability at all."""
    if obstacle is not None and obstacle.reason is Reason.NOT_ASSESSABLE:
        return replace(finding, decision=Decision.ABSTAIN, reason=obstacle.reason)
    finding = replace(finding, probability=probability, uncertainty=min(probability, 1.0 - probability))
    if obstacle is not None:
        return replace(finding, decision=Decision.ABSTAIN, reason=obstacle.reason)
    return replace(finding, decision=decision, reason=Reason.UNCERTAIN if decision is Decision.ABSTAIN else None)
