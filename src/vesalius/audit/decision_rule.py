"""The rule that a file of outputs gives: calibrator, thresholds and abstention, and with features a gate; saved as plain JSON.

Fitted by `vesalius uq`, it is applied to new outputs of the same model and locked in between: nothing is learnt from what it is
applied to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int8, Shaped

from vesalius.audit.outputs_source import listed
from vesalius.errors import EmptyInput, NotEstimable, RuleError, ValueOutOfRange

if TYPE_CHECKING:
    from vesalius.audit.outputs import Outputs
    from vesalius.uncertainty import Calibrator, DecisionPolicy, OodGate

FORMAT, FORMAT_VERSION = "vesalius.decision_rule", 1
Method = Literal["temperature", "shared-temperature", "platt", "vector", "selected", "beta", "isotonic", "venn-abers", "none"]
METHODS: tuple[Method, ...] = get_args(Method)
NO_LINES = ("beta", "isotonic", "venn-abers")
"""Calibrators that are no line in the logit: a promise that is tested on their own calibration cases would not stand."""
GATE_ARRAYS = "decision_rule.npz"
WORDS = {1: "present", 0: "absent", -1: "abstain"}


@dataclass(frozen=True)
class RuleOptions:
    """How a rule is made.

    Attributes:
        method: The calibrator; "none" takes probabilities as they are.
        threshold_rule: f1, youden or sensitivity=SHARE.
        coverage: Share of the calibration cases of each finding that goes on being answered.
        target_risk: If given, in place of `coverage`: the widest coverage whose errors stay at or below this share.
        confidence: If given, the target risk (or the sensitivity) is promised with it, and is not only what was seen.
        seed: Of folds.
    """

    method: Method = "temperature"
    threshold_rule: str = "f1"
    coverage: float = 0.9
    target_risk: float | None = None
    confidence: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Answers:
    """What a rule says of some cases.

    Attributes:
        probabilities: After calibration; NaN where the model gave nothing.
        decisions: 1 present, 0 absent, -1 no answer.
        foreign: True where the gate withheld every answer; None without a gate.
    """

    probabilities: Float64[np.ndarray, "case finding"]
    decisions: Int8[np.ndarray, "case finding"]
    foreign: Bool[np.ndarray, " case"] | None = None

    def reason(self, case: int, finding: int) -> str | None:
        """Why there is no answer; None where there is one."""
        if self.decisions[case, finding] >= 0:
            return None
        return "out_of_distribution" if self.foreign is not None and self.foreign[case] else "uncertain"


@dataclass(frozen=True)
class DecisionRule:
    """A fitted rule for one model's outputs.

    Attributes:
        findings: What it answers.
        options: How it was made.
        calibrator: From logits to probabilities.
        policy: Thresholds and bands without an answer.
        gate: Stops cases whose features are unlike those it was made from; None without features.
        made: Numbers of cases and patients behind it, and the version of this package.
    """

    findings: tuple[str, ...]
    options: RuleOptions
    calibrator: Calibrator
    policy: DecisionPolicy
    gate: OodGate | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, outputs: Outputs, options: RuleOptions = RuleOptions(), *, gate: bool = True) -> DecisionRule:
        """Fits calibrator, then thresholds and bands on what it gives, then the gate, all on these cases.

        Raises:
            ValueOutOfRange: An option out of its range.
            EmptyInput: No case, or no known label.
        """
        calibrator = make_calibrator(options)
        calibrator.fit(outputs.logits, outputs.labels, outputs.patients)
        policy = make_policy(options)
        policy.fit(calibrator.calibrate(outputs.logits), outputs.labels, outputs.patients)
        made = {
            "n": len(outputs),
            "n_patients": len(np.unique(outputs.patients)) if outputs.patients is not None else None,
            "n_known": [int(n) for n in np.isfinite(outputs.labels).sum(axis=0)],
            "n_positive": [int(n) for n in (outputs.labels == 1).sum(axis=0)],
            "vesalius": version("vesalius"),
        }
        fitted_gate = _fit_gate(outputs, options) if gate and outputs.features is not None else None
        return cls(outputs.findings, options, calibrator, policy, fitted_gate, made)

    def answer(self, outputs: Outputs) -> Answers:
        """Applies the rule; a case without an answer of the model has none here.

        Raises:
            RuleError: The outputs lack a finding of the rule.
        """
        columns = self._columns(outputs.findings)
        logits = outputs.logits[:, columns]
        probabilities = self.calibrator.calibrate(logits)
        decisions = self.policy.decide(probabilities)
        if self.gate is None or outputs.features is None:
            return Answers(probabilities, decisions)
        foreign = self.gate.is_out(outputs.features, np.where(np.isnan(logits), 0.0, logits))
        return Answers(probabilities, np.where(foreign[:, None], -1, decisions).astype(np.int8), foreign)

    def _columns(self, findings: Sequence[str]) -> list[int]:
        missing = [name for name in self.findings if name not in findings]
        if missing:
            raise RuleError(
                f"the rule answers {listed(list(self.findings))}, and the outputs have nothing for {listed(missing)}; "
                f"add {', '.join(f'logit:{name}' for name in missing[:3])}"
            )
        return [list(findings).index(name) for name in self.findings]

    def to_json(self) -> dict[str, Any]:
        """Returns plain numbers and words; written as JSON and read back, every float is the same."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "findings": list(self.findings),
            "options": asdict(self.options),
            "calibrator": self.calibrator.to_json(),
            "policy": self.policy.to_json(),
            "gate": None if self.gate is None else self.gate.to_json(),
            "made": self.made,
            "how": "present at or above high, absent at or below low, no answer between; probability = calibrator(logit)",
        }

    def save(self, folder: Path) -> list[Path]:
        """Writes `decision_rule.json`, and beside it the arrays of a gate; returns the paths."""
        from vesalius.audit.page import json_text, write_whole

        write_whole(folder, {"decision_rule.json": json_text(self.to_json())})
        if self.gate is None:
            (folder / GATE_ARRAYS).unlink(missing_ok=True)  # of an earlier rule: it would not fit this one
            return [folder / "decision_rule.json"]
        np.savez(folder / GATE_ARRAYS, **self.gate.state())  # type: ignore[arg-type]  # arrays by name
        return [folder / "decision_rule.json", folder / GATE_ARRAYS]


def load_rule(path: Path) -> DecisionRule:
    """Reads what `DecisionRule.save` wrote.

    Raises:
        RuleError: Missing, not a decision rule, of a newer version, or its gate's arrays are not beside it.
    """
    from vesalius.uncertainty import DecisionPolicy, calibrator_from_json

    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RuleError(f"{path} cannot be read; expected the decision_rule.json that `vesalius uq --out` writes") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RuleError(f"{path.name} is not a decision rule; expected the decision_rule.json that `vesalius uq --out` writes")
    if state.get("format_version") != FORMAT_VERSION:
        raise RuleError(f"{path.name} is of version {state.get('format_version')}; this vesalius reads {FORMAT_VERSION}")
    try:
        return DecisionRule(
            tuple(state["findings"]),
            RuleOptions(**state["options"]),
            calibrator_from_json(state["calibrator"]),
            DecisionPolicy.from_json(state["policy"]),
            _load_gate(state["gate"], path.with_name(GATE_ARRAYS)),
            state["made"],
        )
    except (KeyError, TypeError, ValueOutOfRange) as error:
        raise RuleError(
            f"{path.name} lacks a part of a decision rule ({error}); write it again with `vesalius uq --out`"
        ) from error


def make_calibrator(options: RuleOptions) -> Calibrator:
    """Returns the unfitted calibrator that the options name."""
    from vesalius.uncertainty import Beta, Isotonic, Platt, SelectedCalibrator, Temperature, Vector, VennAbers
    from vesalius.uncertainty.calibration import Identity

    if options.method not in METHODS:
        raise ValueOutOfRange(f"method {options.method!r}; expected one of {', '.join(METHODS)}")
    if options.confidence is not None and options.method in NO_LINES:
        raise ValueOutOfRange(
            f"a promise cannot be tested on the cases that a calibrator of the kind {options.method!r} was fitted on; "
            "take temperature, platt, vector or selected"
        )
    made: dict[str, Callable[[], Calibrator]] = {
        "none": Identity,
        "temperature": lambda: Temperature(per_label=True),
        "shared-temperature": Temperature,
        "platt": Platt,
        "vector": Vector,
        "selected": lambda: SelectedCalibrator(seed=options.seed),
        "beta": Beta,
        "isotonic": Isotonic,
        "venn-abers": VennAbers,
    }
    return made[options.method]()


def make_policy(options: RuleOptions) -> DecisionPolicy:
    """Returns the unfitted thresholds and bands that the options name."""
    from vesalius.bundle.calibrate import CalibrationOptions
    from vesalius.uncertainty import DecisionPolicy

    name, sensitivity = CalibrationOptions(threshold_rule=options.threshold_rule).rule()
    return DecisionPolicy(
        name,
        coverage=options.coverage,
        target_sensitivity=sensitivity,
        target_risk=options.target_risk,
        guarantee=options.confidence,
    )


def _fit_gate(outputs: Outputs, options: RuleOptions) -> OodGate | None:
    from vesalius.uncertainty import OodGate

    assert outputs.features is not None
    answered = np.isfinite(outputs.logits).all(axis=1)
    patients: Shaped[np.ndarray, " case"] | None = None if outputs.patients is None else outputs.patients[answered]
    try:
        return OodGate(seed=options.seed).fit(outputs.features[answered], outputs.logits[answered], patients=patients)
    except (EmptyInput, NotEstimable):  # fewer than four patients, or features without spread: no gate, and the report says so
        return None


def _load_gate(state: dict[str, Any] | None, arrays: Path) -> OodGate | None:
    from vesalius.uncertainty import OodGate

    if state is None:
        return None
    try:
        with np.load(arrays, allow_pickle=False) as saved:
            return OodGate.from_state({name: saved[name] for name in saved.files}, state)
    except (OSError, ValueError, KeyError) as error:
        raise RuleError(f"{arrays.name} must stand beside the rule, as `vesalius uq --out` wrote it: the gate needs it") from error
