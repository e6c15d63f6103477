"""A model's outputs in a file, whoever made them: read, checked, and put into arrays.

A complaint names the file, the column and the lines, and never quotes what stands there: it may be a patient's.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from scipy.special import expit, logit

from vesalius.audit.outputs_source import Source, listed
from vesalius.errors import OutputsError, name_places

Kind = Literal["logit", "probability"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OWN_COLUMNS = ("patient_id", "split", "features", "member_logits", "findings")
SPLITS = ("calibration", "test")
OTHER_SPLITS = ("train", "validation")
CERTAIN = 1e-7
"""A probability of 0 or 1 has no logit; it is taken as this far from it, the last step that float32 can show below 1."""


@dataclass(frozen=True)
class Outputs:
    """What a model said of some cases, and what is known of them.

    Attributes:
        file: Its name, without folders.
        place: What a case is called when it is looked up: "line" of a CSV (the header is line 1), "row" of an array (from 0).
        places: That number, for each case.
        findings: In the order of the output columns.
        kinds: What was given for each finding.
        logits: As given, or the logit of the probability; NaN where the model gave nothing.
        probabilities: Before any calibration here: as given, or the logistic function of the logit.
        labels: 1, 0, NaN unknown or uncertain.
        patients: Whose case it is, or None if the file does not say. Never printed.
        split: "calibration" or "test" for each case, or None if the file does not say.
        columns: Every other column, as words; None where blank.
        features: Encoder output, or None.
        member_logits: Of the members of an ensemble (or of passes with dropout), or None.
        notices: What a reader of the figures should know of how the file was read.
    """

    file: str
    place: str
    places: Int64[np.ndarray, " case"]
    findings: tuple[str, ...]
    kinds: tuple[Kind, ...]
    logits: Float64[np.ndarray, "case finding"] = field(repr=False)
    probabilities: Float64[np.ndarray, "case finding"] = field(repr=False)
    labels: Float64[np.ndarray, "case finding"] = field(repr=False)
    patients: Shaped[np.ndarray, " case"] | None = field(default=None, repr=False)
    split: Shaped[np.ndarray, " case"] | None = field(default=None, repr=False)
    columns: dict[str, Shaped[np.ndarray, " case"]] = field(default_factory=dict, repr=False)
    features: Float64[np.ndarray, "case dim"] | None = field(default=None, repr=False)
    member_logits: Float64[np.ndarray, "member case finding"] | None = field(default=None, repr=False)
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def take(self, chosen: Bool[np.ndarray, " case"]) -> Outputs:
        """Returns the chosen cases."""

        def part(array: Shaped[np.ndarray, " case"] | None) -> Shaped[np.ndarray, " case"] | None:
            return None if array is None else array[chosen]

        return replace(
            self,
            places=self.places[chosen],
            logits=self.logits[chosen],
            probabilities=self.probabilities[chosen],
            labels=self.labels[chosen],
            patients=part(self.patients),
            split=part(self.split),
            columns={name: values[chosen] for name, values in self.columns.items()},
            features=part(self.features),
            member_logits=None if self.member_logits is None else self.member_logits[:, chosen],
        )


def read_outputs(path: Path, *, labelled: bool = True) -> Outputs:
    """Reads and checks a CSV or .npz of outputs.

    Args:
        path: See docs/uq.md for its columns.
        labelled: Refuse a file without labels to measure by; False for new cases that a rule is applied to.

    Raises:
        OutputsError: The file is missing, of another kind, empty, lacks columns or holds values that cannot be what their column
            says; the message has the lines and the next step.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there; check the spelling"
        raise OutputsError(f"{path} {what}; expected a file FILE.csv or FILE.npz of model outputs")
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".npz"}:
        raise OutputsError(f"{path.name} ends in {suffix or 'nothing'}; expected .csv or .npz: save the outputs as one of these")
    if path.stat().st_size == 0:
        raise OutputsError(f"{path.name} is empty; expected columns label:NAME with logit:NAME or probability:NAME (docs/uq.md)")
    if suffix == ".csv":
        from vesalius.audit.outputs_csv import open_csv

        return assemble(open_csv(path), labelled=labelled)
    from vesalius.audit.outputs_arrays import open_arrays

    return assemble(open_arrays(path), labelled=labelled)


def assemble(source: Source, *, labelled: bool = True) -> Outputs:
    """Returns the outputs that the columns of an opened file describe; see `read_outputs`."""
    findings, kinds, notices = _findings(source, labelled=labelled)
    if not len(source.places):
        raise OutputsError(f"{source.file} has its {source.column}s and no case below them; add one {source.place} a case")
    labels = np.full((len(source.places), len(findings)), np.nan)
    for index, name in enumerate(findings):
        if f"label:{name}" in source.names:
            labels[:, index] = _labels(source, f"label:{name}")
    members = _members(source, findings)
    logits, probabilities = _answers(source, findings, kinds, members)
    outputs = Outputs(
        file=source.file,
        place=source.place,
        places=source.places,
        findings=findings,
        kinds=kinds,
        logits=logits,
        probabilities=probabilities,
        labels=labels,
        patients=_patients(source),
        split=_split(source),
        columns={name: source.words(name) for name in source.names if ":" not in name and name not in OWN_COLUMNS},
        features=_features(source),
        member_logits=members,
        notices=tuple(notices),
    )
    outputs = _only_our_splits(outputs)
    _refuse_silence(outputs)
    if labelled:
        _refuse_unmeasurable(outputs)
    return outputs


def _findings(source: Source, *, labelled: bool) -> tuple[tuple[str, ...], tuple[Kind, ...], list[str]]:
    """Names of the findings to look at, what was given for each, and what was left aside."""
    notices: list[str] = []
    given = {kind: [name.removeprefix(f"{kind}:") for name in source.names if name.startswith(f"{kind}:")] for kind in KINDS}
    labels = [name.removeprefix("label:") for name in source.names if name.startswith("label:")]
    both = [name for name in given["logit"] if name in given["probability"]]
    if both:
        notices.append(f"both logit and probability were given for {listed(both)}: the logit is used")
    answered: dict[str, Kind] = {}
    for column in source.names:
        kind, _, name = column.partition(":")
        if kind == "logit" or (kind == "probability" and name not in given["logit"]):
            answered[name] = "logit" if kind == "logit" else "probability"
    if not answered and source.member_logits is not None:
        answered = dict.fromkeys(source.member_findings or labels, "logit")
    if not answered:
        raise OutputsError(
            f"{source.file} has no {source.column} logit:NAME or probability:NAME; it has: {listed(source.names)}. "
            f"Rename the model's {source.column}s, such as logit:Effusion beside label:Effusion"
        )
    if not labelled:
        return tuple(answered), tuple(answered.values()), notices
    if not labels:
        raise OutputsError(
            f"{source.file} has no {source.column} label:NAME; it has: {listed(source.names)}. "
            f"Add label:{next(iter(answered))} with 1 present, 0 absent, -1 uncertain or blank unknown"
        )
    lonely = [name for name in labels if name not in answered]
    if lonely:
        near = difflib.get_close_matches(lonely[0], answered, n=1)
        hint = (
            f"did you mean label:{near[0]}?" if near else f"add logit:{lonely[0]} or probability:{lonely[0]}, or remove the label"
        )
        raise OutputsError(f"{source.file}: label:{lonely[0]} has no logit:{lonely[0]} or probability:{lonely[0]}; {hint}")
    unlabelled = [name for name in answered if name not in labels]
    if unlabelled:
        notices.append(f"without a label, so left out: {listed(unlabelled)}")
    kept = {name: kind for name, kind in answered.items() if name in labels}
    return tuple(kept), tuple(kept.values()), notices


def _answers(
    source: Source, findings: Sequence[str], kinds: Sequence[Kind], members: Float64[np.ndarray, "member case finding"] | None
) -> tuple[Float64[np.ndarray, "case finding"], Float64[np.ndarray, "case finding"]]:
    from vesalius.uncertainty.ensembles import mean_of

    shape = (len(source.places), len(findings))
    logits, probabilities = np.full(shape, np.nan), np.full(shape, np.nan)
    for index, (name, kind) in enumerate(zip(findings, kinds, strict=True)):
        column = f"{kind}:{name}"
        if column not in source.names:  # only members were given: the ensemble answers with the mean of their logits
            assert members is not None
            values = mean_of(members[:, :, [index]], of="logits")[:, 0]
        else:
            values = source.numbers(column)
        source.complain(np.isinf(values), column, "an infinite number", "expected a finite one")
        if kind == "logit":
            logits[:, index], probabilities[:, index] = values, expit(values)
            continue
        outside = (values < 0) | (values > 1)
        source.complain(outside, column, "a number outside [0, 1]", f"call it logit:{name} if these are logits")
        logits[:, index], probabilities[:, index] = to_logits(values), values
    return logits, probabilities


def to_logits(probabilities: Float64[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
    """Log odds of probabilities; 0 and 1 are taken as `CERTAIN` away from their end."""
    odds: Float64[np.ndarray, "*axes"] = logit(np.clip(probabilities, CERTAIN, 1 - CERTAIN))
    return odds


def _labels(source: Source, column: str) -> Float64[np.ndarray, " case"]:
    values = source.numbers(column)
    strange = ~(np.isnan(values) | np.isin(values, (1, 0, -1)))
    source.complain(strange, column, "another label than 1, 0, -1 or blank", "map it to one of these, or remove the column")
    return np.where(values == -1, np.nan, values)


def _members(source: Source, findings: Sequence[str]) -> Float64[np.ndarray, "member case finding"] | None:
    if source.member_logits is None:
        return None
    array = source.member_logits
    names = source.member_findings or tuple(
        dict.fromkeys(name.partition(":")[2] for name in source.names if name.startswith(("logit:", "probability:")))
    )
    names = names or tuple(name.removeprefix("label:") for name in source.names if name.startswith("label:"))
    expected = f"(member, case, finding) = (any, {len(source.places)}, {len(names)})"
    if array.dtype.kind not in "fiu" or array.ndim != 3 or array.shape[1:] != (len(source.places), len(names)):
        raise OutputsError(
            f"{source.file}: member_logits is {array.dtype} {array.shape}; expected {expected}, "
            f"findings in the order {listed(names)} (or named by an array `findings`)"
        )
    missing = [name for name in findings if name not in names]
    if missing:
        raise OutputsError(f"{source.file}: member_logits has nothing for {listed(missing)}; its findings are {listed(names)}")
    members = np.asarray(array, dtype=np.float64)[:, :, [names.index(name) for name in findings]]
    if not np.isfinite(members).all():
        raise OutputsError(f"{source.file}: member_logits holds numbers that are not finite; leave those cases out")
    return members


def _features(source: Source) -> Float64[np.ndarray, "case dim"] | None:
    if source.features is None:
        return None
    array = source.features
    if array.dtype.kind not in "fiu" or array.ndim != 2 or len(array) != len(source.places) or not array.shape[1]:
        raise OutputsError(
            f"{source.file}: features is {array.dtype} {array.shape}; expected (case, dim) = ({len(source.places)}, any) of numbers"
        )
    features = np.asarray(array, dtype=np.float64)
    wrong = np.asarray(~np.isfinite(features).all(axis=1))
    source.complain(wrong, "features", "a number that is not finite", "leave those cases out")
    return features


def _patients(source: Source) -> Shaped[np.ndarray, " case"] | None:
    if "patient_id" not in source.names:
        return None
    words = source.words("patient_id")
    blank = np.array([word is None for word in words])
    source.complain(blank, "patient_id", "no patient", "fill it in (any name of its own), or remove the column")
    return words.astype(str)


def _split(source: Source) -> Shaped[np.ndarray, " case"] | None:
    if "split" not in source.names:
        return None
    words = np.array([None if word is None else str(word).lower() for word in source.words("split")], dtype=object)
    strange = ~np.isin(words.astype(str), (*SPLITS, *OTHER_SPLITS))
    source.complain(strange, "split", f"neither {' nor '.join(SPLITS)}", "fill it in, or remove the column to cross-fit")
    return words.astype(str)


def _only_our_splits(outputs: Outputs) -> Outputs:
    if outputs.split is None:
        return outputs
    ours = np.isin(outputs.split, SPLITS)
    if ours.all():
        return outputs
    word = f"{int((~ours).sum())} cases of the splits {' and '.join(OTHER_SPLITS)} were left out"
    return replace(outputs.take(ours), notices=(*outputs.notices, word))


def _refuse_silence(outputs: Outputs) -> None:
    silent = np.isnan(outputs.logits) & ~np.isnan(outputs.labels)
    for index, name in enumerate(outputs.findings):
        if silent[:, index].any():
            where = name_places(outputs.places[silent[:, index]].tolist(), outputs.place)
            raise OutputsError(
                f"{outputs.file}, {where}: a label but no {outputs.kinds[index]}:{name}; "
                f"a model that gave no answer cannot be measured there: fill it in, or blank label:{name}"
            )


def _refuse_unmeasurable(outputs: Outputs) -> None:
    if np.isnan(outputs.labels).all():
        raise OutputsError(
            f"{outputs.file} has no known label; expected 1 or 0 in some {outputs.place} of {listed(_label_names(outputs))}"
        )
    present, absent = (outputs.labels == 1).any(axis=0), (outputs.labels == 0).any(axis=0)
    if not (present & absent).any():
        which = "0 (absent)" if not present.any() else "1 (present)" if not absent.any() else "the same within its column"
        raise OutputsError(
            f"{outputs.file}: every known label of {listed(_label_names(outputs))} is {which}; "
            "both 1 and 0 are needed to calibrate or rank anything: add cases of the other kind"
        )


def _label_names(outputs: Outputs) -> list[str]:
    return [f"label:{name}" for name in outputs.findings]
