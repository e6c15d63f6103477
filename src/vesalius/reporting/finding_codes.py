"""Which code a finding has in a DICOM SR.

A SNOMED CT code is used only where pydicom's dictionary, generated from the DICOM standard, holds it: none is written from memory.
Every other finding gets a code of the private scheme 99VESALIUS, made from its name: the same name has the same code always.
"""

from __future__ import annotations

import hashlib
import re

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99VESALIUS"
CODE_VALUE_LENGTH = 16
CODE_MEANING_LENGTH = 64

_CONCEPTS = {
    "effusion": codes.SCT.PleuralEffusion,
    "pleural effusion": codes.SCT.PleuralEffusion,
    "pneumothorax": codes.SCT.Pneumothorax,
    "cardiomegaly": codes.SCT.Cardiomegaly,
    "edema": codes.SCT.PulmonaryEdema,
    "pulmonary edema": codes.SCT.PulmonaryEdema,
    "nodule": codes.SCT.Nodule,
    "mass": codes.SCT.Mass,
    "fibrosis": codes.SCT.Fibrosis,
}
"""Names of findings in chest-film data sets, in small letters."""


def finding_code(name: str) -> Code:
    """Returns the code of a finding: of SNOMED CT where the DICOM standard has it, else of the scheme 99VESALIUS."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    if words in _CONCEPTS:
        return _CONCEPTS[words]
    value = words.upper().replace(" ", "_")
    if len(value) > CODE_VALUE_LENGTH or not value:
        value = f"{value[:7]}_{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}".lstrip("_")
    return Code(value, PRIVATE_SCHEME, name[:CODE_MEANING_LENGTH])
