from __future__ import annotations

import json
import math

from vesalius.types import Decision, Failure, Finding, OutOfDistribution, Prediction, Reason


def test_the_line_is_the_contract_word_for_word() -> None:
    prediction = Prediction(
        case="study/IM1.dcm",
        image_id="0011223344556677",
        bundle="name@sha256:0123456789ab",
        findings=(
            Finding("Effusion", 1.2, 0.71, 0.29, Decision.PRESENT),
            Finding("Nodule", -0.1, 0.48, 0.48, Decision.ABSTAIN, Reason.UNCERTAIN),
        ),
        ood=OutOfDistribution(3.1, 5.0, False),
        warnings=("one",),
        seconds=0.1,
    )
    assert json.loads(json.dumps(prediction.to_json(), allow_nan=False)) == {
        "case": "study/IM1.dcm",
        "image_id": "0011223344556677",
        "bundle": "name@sha256:0123456789ab",
        "seconds": 0.1,
        "findings": [
            {"name": "Effusion", "logit": 1.2, "probability": 0.71, "uncertainty": 0.29, "decision": "present", "reason": None},
            {
                "name": "Nodule",
                "logit": -0.1,
                "probability": 0.48,
                "uncertainty": 0.48,
                "decision": "abstain",
                "reason": "uncertain",
            },
        ],
        "ood": {"score": 3.1, "threshold": 5.0, "out": False},
        "warnings": ["one"],
        "error": None,
    }


def test_a_failed_case_has_no_findings_and_says_why() -> None:
    line = Prediction("a.dcm", None, "name@sha256:0", error=Failure("truncated", "the file ends: copy it again")).to_json()
    assert line["findings"] == []
    assert line["error"] == {"code": "truncated", "message": "the file ends: copy it again"}
    assert (line["image_id"], line["ood"], line["seconds"]) == (None, None, None)


def test_what_is_not_finite_is_null() -> None:
    finding = Finding("Effusion", math.inf)
    line = Prediction("a", "b", "c", (finding,), OutOfDistribution(math.nan, 5.0, True)).to_json()
    assert line["findings"][0]["logit"] is None
    assert line["findings"][0]["probability"] is None
    assert line["findings"][0]["decision"] is None
    assert line["ood"] == {"score": None, "threshold": 5.0, "out": True}
