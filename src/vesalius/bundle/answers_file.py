"""The file of answers: one JSON line a case, appended as each is done, so that a stopped run goes on where it stopped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from vesalius.bundle.side_files import unwritten
from vesalius.errors import BundleError
from vesalius.types import Decision, Prediction


@dataclass
class Tally:
    """What the answers say, in counts.

    Attributes:
        cases: Of all kinds.
        answered: At least one finding is present or absent.
        abstained: No finding is, by the reason of the first.
        failed: By error code.
        findings: Decisions of each finding.
    """

    cases: int = 0
    answered: int = 0
    abstained: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Counts one line."""
        self.cases += 1
        if line["error"] is not None:
            self.failed[line["error"]["code"]] += 1
            return
        for finding in line["findings"]:
            self.findings.setdefault(finding["name"], Counter())[finding["decision"]] += 1
        if any(finding["decision"] != Decision.ABSTAIN for finding in line["findings"]):
            self.answered += 1
        else:
            self.abstained[line["findings"][0]["reason"]] += 1

    def to_json(self) -> dict[str, Any]:
        """Returns plain counts."""
        decisions = [str(decision) for decision in Decision]
        return {
            "cases": self.cases,
            "answered": self.answered,
            "abstained": dict(self.abstained),
            "failed": dict(self.failed),
            "findings": {name: {word: counts[word] for word in decisions} for name, counts in self.findings.items()},
        }


class AnswersFile:
    """Answers of one bundle, old ones kept and new ones appended.

    Attributes:
        finished: Names of the cases that have a line.
        failed: Those of them whose line is an error.
        unwritten: Of those whose line says that something could not be written beside it, what.
        unmade: Cases of this run that lack files beside their lines, new or kept ones, and why.
        late: Those of them whose line was there before and does not say so.
        tally: Of every line, old and new.

    Args:
        path: The file; made if it is not there. A last line that was cut off by a stop is dropped.
        reference: The bundle that answers.
        tally: Counts the lines; a `Tally` unless given.

    Raises:
        BundleError: The file holds answers of another bundle, or lines that are no answers, or cannot be written; choose another.
    """

    def __init__(self, path: Path, reference: str, tally: Tally | None = None) -> None:
        self.path = path
        self.reference = reference
        self.finished: set[str] = set()
        self.failed: set[str] = set()
        self.unwritten: dict[str, set[str]] = {}
        self.unmade: dict[str, str] = {}
        self.late: set[str] = set()
        self.tally = Tally() if tally is None else tally
        if path.exists():
            self._take_up()

    def _take_up(self) -> None:
        with self._open("rb+") as file:
            whole = 0
            for number, content in enumerate(file, start=1):
                if not content.endswith(b"\n"):
                    break
                self._count(self._parse(content, number))
                whole += len(content)
            file.truncate(whole)

    def _open(self, mode: Literal["rb+", "ab"]) -> BinaryIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.open(mode)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _parse(self, content: bytes, number: int) -> dict[str, Any]:
        try:
            line = json.loads(content)
            if not {"case", "bundle", "findings", "error"} <= set(line):
                raise ValueError
        except (ValueError, TypeError):
            raise BundleError(f"line {number} of {self.path} is no answer of a bundle; choose another --out") from None
        if line["bundle"] != self.reference:
            raise BundleError(
                f"{self.path} holds answers of {line['bundle']} and this is {self.reference}; "
                "choose another --out, or remove that file"
            )
        return dict(line)

    def _count(self, line: dict[str, Any]) -> None:
        self.finished.add(line["case"])
        if line["error"] is not None:
            self.failed.add(line["case"])
        if missing := unwritten(line.get("warnings", ())):
            self.unwritten[line["case"]] = set(missing)
        self.tally.add(line)

    def complete(self, lacks: Callable[[str], set[str]]) -> frozenset[str]:
        """Returns the cases that are done: they failed, or lack nothing beside their line but what it says could not be written."""
        return frozenset(case for case in self.finished if case in self.failed or lacks(case) <= self.unwritten.get(case, set()))

    @contextmanager
    def appending(self) -> Iterator[Callable[[Prediction], None]]:
        """Opens the file for new answers; each reaches the system before the next is made. A case that has a line keeps it."""
        with self._open("ab") as file:

            def append(prediction: Prediction) -> None:
                case, fresh = prediction.case, unwritten(prediction.warnings)
                if case in self.finished:
                    told = self.unwritten.get(case, set())
                    fresh = {what: why for what, why in fresh.items() if what not in told}
                    fresh |= {} if prediction.error is None else {"answer": prediction.error.message}
                    self.late |= {case} if fresh else set()
                if fresh:
                    self.unmade[case] = next(iter(fresh.values()))
                if case in self.finished:
                    return
                line = prediction.to_json()
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
                file.flush()
                self._count(line)

            yield append


def unwritable(path: Path, error: OSError) -> BundleError:
    """Returns what to say of an `--out` that is no file, or cannot be one."""
    why = "is a folder" if path.is_dir() else f"cannot be written: {error.strerror or type(error).__name__}"
    return BundleError(f"{path} {why}; give --out the name of a file, in a folder that you may write to")
