"""`vesalius uq`: any model's outputs in, a decision rule out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from vesalius.cli import EXIT_OK
from vesalius.cli.console import Console
from vesalius.errors import ValueOutOfRange

if TYPE_CHECKING:
    from vesalius.audit.outputs import Outputs
    from vesalius.audit.outputs_evaluation import EvaluationSettings, OutputsResult


@dataclass(frozen=True)
class Command:
    """How sure may any model be? From a CSV or .npz of its outputs to calibration, abstention and a decision rule.

    Columns: label:NAME (1, 0, -1 uncertain, blank unknown) with logit:NAME or probability:NAME; optional patient_id, split
    (calibration / test), and any other column for --by. A .npz has arrays of these names, and may have features (case, dim) and
    member_logits (member, case, finding). Nothing is measured on cases it was fitted on: without a split column, folds of
    patients are fitted and measured in turn. No file is written unless asked for.

        vesalius uq outputs.csv
        vesalius uq outputs.csv --out report --by sex,site --target-risk 0.05 --risk-confidence 0.9
        vesalius uq new.csv --rule report/decision_rule.json --answers answers.csv
    """

    file: tyro.conf.Positional[Path]
    """outputs of one model, .csv or .npz (docs/uq.md)"""
    out: Path | None = None
    """a folder for index.html, uq.json and decision_rule.json"""
    by: str = ""
    """columns that split the cases into subgroups, comma separated"""
    method: Literal["temperature", "shared-temperature", "platt", "vector", "selected", "beta", "isotonic", "venn-abers"] = (
        "temperature"
    )
    """calibrator: one temperature a finding, or shared; platt has an intercept too; selected: the best on held-out patients"""
    no_calibrate: bool = False
    """take probabilities as they are"""
    threshold_rule: str = "f1"
    """how each threshold is chosen: f1, youden, or sensitivity=0.95"""
    coverage: float = 0.9
    """share of cases that each finding goes on answering; it abstains on the rest, nearest its threshold"""
    target_risk: float | None = None
    """instead of --coverage: answer as many cases as keep the share of wrong answers at or below this, 0.05 say"""
    risk_confidence: float | None = None
    """promise --target-risk (or the rule's sensitivity) with this confidence, 0.9 say; else the target is only what was seen"""
    rule: Path | None = None
    """apply this decision_rule.json to new outputs, which need no labels, instead of evaluating"""
    answers: Path | None = None
    """with --rule: a CSV of probabilities, decisions and reasons, one line a case"""
    resamples: int = 1000
    """bootstrap resamples of patients behind every interval"""
    seed: int = 0
    """same seed, same numbers"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Evaluates, or applies a rule, and returns the exit code."""
        from vesalius.audit.outputs import read_outputs

        console = Console(json=self.json)
        if self.rule is not None:
            return self._apply(console, read_outputs(self.file, labelled=False), self.rule)
        if self.answers is not None:
            raise ValueOutOfRange("--answers needs a rule to answer by; add --rule DIR/decision_rule.json")
        return self._evaluate(console, read_outputs(self.file))

    def _evaluate(self, console: Console, outputs: Outputs) -> int:
        from vesalius.audit.outputs_evaluation import evaluate_outputs
        from vesalius.audit.outputs_report import write_report

        with console.progress("uq", unit="steps") as progress:
            result = evaluate_outputs(outputs, self._settings(), progress)
        written = [] if self.out is None else write_report(result, self.out)
        self._show(console, result)
        for path in written:
            console.say(f"written: {path}")
        if self.out is None:
            console.say("No file was written; --out DIR writes a page, the numbers and the decision rule.")
        console.result(result.contract() | {"written": [str(path) for path in written]})
        return EXIT_OK

    def _settings(self) -> EvaluationSettings:
        from vesalius.audit.decision_rule import RuleOptions
        from vesalius.audit.outputs_evaluation import EvaluationSettings

        rule = RuleOptions(
            method="none" if self.no_calibrate else self.method,
            threshold_rule=self.threshold_rule,
            coverage=self.coverage,
            target_risk=self.target_risk,
            confidence=self.risk_confidence,
            seed=self.seed,
        )
        by = tuple(word.strip() for word in self.by.split(",") if word.strip())
        return EvaluationSettings(rule, by=by, resamples=self.resamples, seed=self.seed)

    def _show(self, console: Console, result: OutputsResult) -> None:
        from vesalius.audit.outputs_report import summary_tables

        document = result.document
        for title, columns, rows in summary_tables(document):
            console.table(title, columns, rows)
        console.say(document["how"]["words"])
        for notice in document["notices"]:
            console.say(f"mind: {notice}")

    def _apply(self, console: Console, outputs: Outputs, path: Path) -> int:
        from vesalius.audit.decision_rule import load_rule
        from vesalius.audit.outputs_answers import count_answers, write_answers

        rule = load_rule(path)
        answers = rule.answer(outputs)
        counts: dict[str, Any] = count_answers(rule, answers)
        rows = [(name, one["present"], one["absent"], one["uncertain"], one["out_of_distribution"]) for name, one in counts.items()]
        console.table(
            f"{outputs.file} by {path.name}", ("finding", "present", "absent", "abstain: uncertain", "out of distribution"), rows
        )
        if rule.gate is not None and outputs.features is None:
            console.say("mind: the rule has an out-of-distribution gate, and these outputs have no features: it was not used")
        if self.answers is not None:
            if self.answers.resolve() == self.file.resolve():
                raise ValueOutOfRange(f"--answers {self.answers} is the file of outputs itself; name another one")
            write_answers(self.answers, outputs, rule, answers)
            console.say(f"written: {self.answers}")
        elif not self.json:
            console.say("No file was written; --answers FILE.csv writes every answer.")
        console.result({"file": outputs.file, "rule": str(path), "n": len(outputs), "findings": counts})
        return EXIT_OK
