"""How foreign is this film? Scores from logits alone; higher = more foreign, what is not finite scores +infinity.

A network's logits say how much *evidence* it sees. Where each film has one class of many (softmax), little evidence is foreign.
Where each film has any number of findings, a normal film has little evidence too: every score here but the centred energy then
takes normal films for foreign ones, and its docstring says so.

Sources: Liu 2020, arXiv:2010.03759, and Wang 2021, arXiv:2111.12797 (energy, and its joint form for many labels); Hendrycks and
Gimpel 2017, arXiv:1610.02136 (greatest probability); Hendrycks 2022, arXiv:1911.11132 (greatest logit).
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self, get_args, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped

from vesalius.errors import NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics.classification import known_labels

Features = Real[np.ndarray, "case dim"]
Logits = Real[np.ndarray, "case finding"]
Labels = Shaped[np.ndarray, "case *finding"]
Scores = Float64[np.ndarray, "case"]
LogitForm = Literal["multi-label", "softmax"]


@runtime_checkable
class Detector(Protocol):
    """What every out-of-distribution score can do; `OodGate` asks for nothing else."""

    def fit(self, features: Features, logits: Logits, labels: Labels | None = None) -> Self:
        """Learns what the calibration split looks like."""
        ...

    def score(self, features: Features, logits: Logits) -> Scores:
        """Foreignness of each case, higher = more foreign."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Returns the kind and the options as plain words and numbers."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Returns the float64 arrays that were learned."""
        ...

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Returns the detector in that state."""
        ...


class Energy:
    """Energy of the logits of one film, in the unit of the logits: low where the network sees evidence.

    Forms: "softmax" (one class of many) is -T logsumexp(z / T). "multi-label" (any number of findings) is the joint energy, the sum
    over findings of -T log(1 + exp(z / T)). logsumexp over sigmoid logits, as in several libraries, ignores the state "absent".

    The joint energy falls with *how much* disease there is, so a normal film looks foreign to it. Centred it does not:
    -sum of T log(2 cosh((z - c) / 2T)) is the same energy over both states of each finding, so that being sure of "absent" counts
    as much as being sure of "present"; c is the middle between the mean logits of both (0 without labels).

    Source: Liu 2020, eq. 4; Wang 2021, eq. 5. The centred form is ours.
    Checked against: torch.logsumexp and torch.nn.functional.softplus (tests/reference); normal films under both (tests/unit).
    """

    def __init__(self, *, temperature: float = 1.0, form: LogitForm = "multi-label", centred: bool = False) -> None:
        """Says which energy.

        Raises:
            ValueOutOfRange: An unknown form, a temperature that is not above 0, or the centred form of a softmax (it has no normal
                films to punish: leave `centred` out).
        """
        _check_form(form, temperature)
        if centred and form == "softmax":
            raise ValueOutOfRange("the centred energy is for findings by themselves; leave centred out for a softmax")
        self.temperature, self.form, self.centred = float(temperature), form, centred
        self._centre: Float64[np.ndarray, " finding"] | None = None

    def fit(self, features: Features | None, logits: Logits, labels: Labels | None = None) -> Self:
        """Learns the middle of each finding, for the centred form; features are not used, unknown labels neither.

        Raises:
            ShapeMismatch: Logits that are no table, or labels (1, 0, NaN unknown) of another shape.
        """
        z = as_table(logits, "logits")
        self._centre = middles(z, labels) if self.centred else np.zeros(z.shape[1])
        return self

    def score(self, features: Features | None, logits: Logits) -> Scores:
        """Energy of each case; +infinity where a logit is not finite.

        Raises:
            NotFitted: The centred form before `fit`.
            ShapeMismatch: Another number of findings than in `fit`.
        """
        z, finite = finite_rows(logits, "logits")
        if self.centred and self._centre is None:
            raise NotFitted("Energy(centred=True) is not fitted; call fit(features, logits, labels) first")
        if self._centre is not None and len(self._centre) != z.shape[1]:
            raise ShapeMismatch(f"logits {z.shape}; this score was fitted on (case, {len(self._centre)})")
        scaled = (z if not self.centred or self._centre is None else z - self._centre) / self.temperature
        return _foreign(-self.temperature * evidence(scaled, self.form, both_states=self.centred), finite)

    def to_json(self) -> dict[str, Any]:
        """Returns the options."""
        return {"kind": "energy", "temperature": self.temperature, "form": self.form, "centred": self.centred}

    def state(self) -> dict[str, np.ndarray]:
        """Returns the arrays that `restore` takes.

        Raises:
            NotFitted: `fit` was not called.
        """
        if self._centre is None:
            raise NotFitted("Energy is not fitted; call fit(features, logits, labels) first")
        return {"centre": self._centre}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Returns the detector in that state."""
        self._centre = np.asarray(arrays["centre"], dtype=np.float64)
        return self


class MaxLogit:
    """Minus the greatest logit of each film, in the unit of the logits: the baseline for many labels and for many classes.

    Of many labels it takes a film without any finding for a foreign one, like the joint energy.

    Source: Hendrycks 2022, section 4.
    Checked against: numpy's own maximum, and which films it stops (tests/unit).
    """

    def fit(self, features: Features | None, logits: Logits, labels: Labels | None = None) -> Self:
        """Learns nothing; it is here so that every score is used alike."""
        return self

    def score(self, features: Features | None, logits: Logits) -> Scores:
        """Minus the greatest logit; +infinity where a logit is not finite."""
        z, finite = finite_rows(logits, "logits")
        return _foreign(-z.max(axis=1), finite)

    def to_json(self) -> dict[str, Any]:
        """Returns the options."""
        return {"kind": "max-logit"}

    def state(self) -> dict[str, np.ndarray]:
        """Returns no array: nothing is learned."""
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Returns the detector as it is."""
        return self


class MaxProbability(MaxLogit):
    """Minus the greatest probability of each film ("MSP"), in [-1, 0]: the baseline that every score should beat.

    Forms: "softmax" is -max softmax(z / T); "multi-label" is -max sigma(z / T), which orders films exactly as `MaxLogit` does and
    takes normal films for foreign ones.

    Source: Hendrycks & Gimpel 2017, section 3.
    Checked against: torch.softmax and torch.sigmoid (tests/reference).
    """

    def __init__(self, *, temperature: float = 1.0, form: LogitForm = "multi-label") -> None:
        """Says which probability.

        Raises:
            ValueOutOfRange: An unknown form, or a temperature that is not above 0.
        """
        _check_form(form, temperature)
        self.temperature, self.form = float(temperature), form

    def score(self, features: Features | None, logits: Logits) -> Scores:
        """Minus the greatest probability; +infinity where a logit is not finite."""
        z, finite = finite_rows(logits, "logits")
        return _foreign(-greatest_probability(z / self.temperature, self.form), finite)

    def to_json(self) -> dict[str, Any]:
        """Returns the options."""
        return {"kind": "max-probability", "temperature": self.temperature, "form": self.form}


def evidence(
    scaled: Float64[np.ndarray, "case finding"], form: LogitForm, *, both_states: bool = False
) -> Float64[np.ndarray, " case"]:
    """Minus the energy of z / T, in units of T: logsumexp (softmax), sum of softplus, or that over both states of each finding."""
    if form == "softmax":
        top = scaled.max(axis=1)
        total: Float64[np.ndarray, " case"] = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return total
    size = np.abs(scaled)
    # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)); both states, log(2 cosh(z / 2)), share the second part.
    support = (size / 2 if both_states else np.maximum(scaled, 0.0)) + np.log1p(np.exp(-size))
    joint: Float64[np.ndarray, " case"] = support.sum(axis=1)
    return joint


def greatest_probability(scaled: Float64[np.ndarray, "case finding"], form: LogitForm) -> Float64[np.ndarray, " case"]:
    """Greatest probability of z / T: of the softmax over classes, or of each finding by itself."""
    top = scaled.max(axis=1)
    if form == "softmax":
        share: Float64[np.ndarray, " case"] = 1.0 / np.exp(scaled - top[:, None]).sum(axis=1)
        return share
    sigmoid: Float64[np.ndarray, " case"] = np.exp(-np.logaddexp(0.0, -top))
    return sigmoid


def middles(logits: Float64[np.ndarray, "case finding"], labels: Labels | None) -> Float64[np.ndarray, " finding"]:
    """Middle between the mean logits of present and absent cases; 0 where there are no labels, or of one kind only.

    Raises:
        ShapeMismatch: Labels of another shape than the logits.
    """
    centre = np.zeros(logits.shape[1])
    if labels is None:
        return centre
    truth = known_labels(labels)
    if truth.shape != logits.shape:
        raise ShapeMismatch(f"labels {truth.shape}, logits {logits.shape}; expected one label a finding (1, 0, NaN unknown)")
    for index, column in enumerate(truth.T):
        present, absent = logits[column == 1, index], logits[column == 0, index]
        if present.size and absent.size:
            centre[index] = (present.mean() + absent.mean()) / 2
    return centre


def as_table(values: Real[np.ndarray, "..."], name: str) -> Float64[np.ndarray, "case column"]:
    """Float64 of a table with at least one column.

    Raises:
        ShapeMismatch: Not two axes, or no column.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1]:
        raise ShapeMismatch(f"{name} {table.shape}; expected (case, {'dim' if name == 'features' else 'finding'})")
    return table


def finite_rows(values: Real[np.ndarray, "..."], name: str) -> tuple[Float64[np.ndarray, "case column"], Bool[np.ndarray, " case"]]:
    """Float64 of a table, with 0 for each row that is not finite, and which rows are."""
    table = as_table(values, name)
    finite: Bool[np.ndarray, " case"] = np.asarray(np.isfinite(table).all(axis=1))
    return np.where(finite[:, None], table, 0.0), finite


def _foreign(scores: Scores, finite: Bool[np.ndarray, " case"]) -> Scores:
    return np.where(finite, scores, np.inf)


def _check_form(form: str, temperature: float) -> None:
    if form not in get_args(LogitForm):
        raise ValueOutOfRange(f"form {form!r}; expected one of {', '.join(get_args(LogitForm))}")
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueOutOfRange(f"temperature {temperature}; expected a number above 0")
