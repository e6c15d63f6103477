"""What travels through the five stops: Image, Finding, Prediction, and the fixed words.

The axis words, used in every shape of the package:
`case finding patient patch channel depth height width token dim head member view`.
No type here can hold a patient's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import pydicom

Pixels = Float[np.ndarray, "height width"]
"""Grey values in [0, 1]; a denser body part is brighter."""

EvidenceKind = Literal["logits", "contrasts"]
"""What a heat map shows: patch `logits`, which were pooled into the finding's own, or patches' `contrasts` with words over the
learned temperature; the film's own contrast is not made of those."""

ProgressCallback = Callable[[int, int], None]
"""Called as `progress(done, total)` by every long job; only `cli` turns it into a bar."""


class Decision(StrEnum):
    """What the software says of one finding."""

    PRESENT = "present"
    ABSENT = "absent"
    ABSTAIN = "abstain"


class Reason(StrEnum):
    """Why it abstained."""

    UNCERTAIN = "uncertain"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    POOR_QUALITY = "poor_quality"
    NOT_ASSESSABLE = "not_assessable"


class View(StrEnum):
    """View position of a chest film; `LATERAL` covers LL, RL and LATERAL in the tags."""

    PA = "PA"
    AP = "AP"
    LATERAL = "LATERAL"


@dataclass(frozen=True)
class Image:
    """One film as it was read.

    Attributes:
        pixels: float32 in [0, 1], denser is brighter, in the standard display orientation
            (patient's right on the left of the picture).
        image_id: First 16 hex digits of the SHA-256 of the stored pixel values; says nothing of the patient.
        bits_stored: Grey depth of the source, 1 to 16; a store keeps this many bits.
        spacing_mm: (row, column) distance of pixel centres in the patient or detector plane, or None where unknown.
        view_position: PA, AP or LATERAL; None where the source does not say.
        laterality: R or L where the film is of one side; None otherwise.
        provenance: Every step taken from file to these pixels, in order, in words.
        warnings: What a user should know of this film.
        path: The file it came from, if any. Writers re-read the header there (a DICOM SR needs the patient).
    """

    pixels: Pixels
    image_id: str
    bits_stored: int = 8
    spacing_mm: tuple[float, float] | None = None
    view_position: View | None = None
    laterality: str | None = None
    provenance: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    path: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One finding of one case.

    Attributes:
        name: The finding, as the bundle names it.
        logit: What the network says, uncalibrated.
        probability: Calibrated, in [0, 1]; None before a calibrator was fitted.
        uncertainty: min(p, 1 - p), in [0, 0.5]; higher = less sure. None without a probability.
        decision: None before calibration.
        reason: Why it abstained; None unless `decision` is abstain.
    """

    name: str
    logit: float
    probability: float | None = None
    uncertainty: float | None = None
    decision: Decision | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class OutOfDistribution:
    """How foreign a case is to the bundle: higher score = more foreign; `out` is `score > threshold`."""

    score: float
    threshold: float
    out: bool


@dataclass(frozen=True)
class Failure:
    """A case that could not be read or answered: a reason code and a sentence without patient data."""

    code: str
    message: str


@dataclass(frozen=True)
class Prediction:
    """The findings of one case; everything in `reporting` is derived from it.

    Attributes:
        case: The case's name, normally the path as the user gave it.
        image_id: See `Image.image_id`; None where the case could not be read.
        bundle: `NAME@sha256:` and the first 12 hex digits of the bundle's id.
        findings: In the bundle's order; empty if `error` is set.
        ood: None if the bundle has no gate or the case failed.
        seconds: Wall time spent on this case.
        evidence: Of every patch (finding, height, width), over the film's padded square; None where not asked for.
        evidence_of: What these numbers are.
    """

    case: str
    image_id: str | None
    bundle: str
    findings: tuple[Finding, ...] = ()
    ood: OutOfDistribution | None = None
    warnings: tuple[str, ...] = ()
    error: Failure | None = None
    seconds: float = math.nan
    evidence: Float[np.ndarray, "finding height width"] | None = None
    evidence_of: EvidenceKind = "logits"

    def __getitem__(self, name: str) -> Finding:
        """Returns the finding of that name.

        Raises:
            KeyError: No such finding; the message lists those there are.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        known = ", ".join(finding.name for finding in self.findings) or "none"
        raise KeyError(f"no finding {name!r} in this prediction; it has: {known}")

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `vesalius predict` writes as one line."""
        from vesalius.reporting.json_lines import to_json

        return to_json(self)

    def to_dicom_sr(self, image: Image) -> pydicom.Dataset:
        """Returns a Comprehensive SR (TID 1500) in the study of the DICOM file `image` was read from.

        Raises:
            NotDicom: `image` did not come from a DICOM file, so there is no study to report into.
        """
        from vesalius.reporting.dicom_sr import to_dicom_sr

        return to_dicom_sr(self, image)
