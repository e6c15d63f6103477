"""`vesalius bundle inspect`: what is in a bundle."""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from vesalius.bundle.format import ZERO_SHOT_SLIDES
from vesalius.cli import EXIT_OK
from vesalius.cli.console import Console

if TYPE_CHECKING:
    from vesalius.bundle.verify import VerifiedBundle


@dataclass(frozen=True)
class Command:
    """What is in a bundle: findings, thresholds, calibrators, where it comes from, what its last audit found.

    Of a bundle of kind image-text: both towers, the tokenizer and the checkpoints it was made of. Of one that was asked in words:
    the words of each finding.

    Verifies it first, so what you read is what will answer. The whole model card is `card.md` in the bundle.

        vesalius bundle inspect bundles/cxr
        vesalius bundle inspect bundles/cxr --json | jq .description.provenance
    """

    bundle: tyro.conf.Positional[Path]
    """the bundle's folder"""
    json: bool = False
    """print one machine-readable object: id, audited, what it was asked, everything in bundle.json, the last audit's key figures"""

    def run(self) -> int:
        """Shows the bundle and returns the exit code."""
        from vesalius.bundle.format import IMAGE_TEXT
        from vesalius.bundle.verify import verify
        from vesalius.bundle.words_asked import asked_to_json

        console = Console(json=self.json)
        verified = verify(self.bundle)
        audit = self._audit(verified)
        if verified.kind == IMAGE_TEXT:
            self._show_towers(console, verified)
        else:
            self._show(console, verified)
            self._show_audit(console, audit, verified.kind)
        figures = None if audit is None else audit.get("key_figures")
        about = {
            "name": verified.description["name"],
            "kind": verified.kind,
            "id": verified.id,
            "reference": verified.reference,
            "audited": verified.audited,
        }
        asked = asked_to_json(verified.description)
        console.result(about | {"asked": asked, "description": verified.description, "key_figures": figures})
        return EXIT_OK

    @staticmethod
    def _audit(verified: VerifiedBundle) -> dict[str, Any] | None:
        if not verified.audited:
            return None
        audit: dict[str, Any] = json_module.loads((verified.path / "audit" / "audit.json").read_bytes())
        return audit

    @staticmethod
    def _show(console: Console, verified: VerifiedBundle) -> None:
        from vesalius.bundle.words_asked import COLUMNS, how_asked, words_asked

        description = verified.description
        provenance, gate = description["provenance"], description["gate"]
        read = "slides" if verified.kind == ZERO_SHOT_SLIDES else "films"
        console.say(f"{verified.reference}   intact")
        for notice in description["notices"]:
            console.say(notice)
        network = description["encoder"].get("encoder") or f"{description['encoder']['vision']['kind']} of {description['family']}"
        rows = [
            ("encoder", f"{network}, {description['preprocessing']['size_px']} px, {description['precision']}"),
            *reads(description),
            *([("asked", how_asked(description))] if "prompts" in description else []),
            ("gate", f"{', '.join(gate['scores'])}, out above {gate['threshold']:.4g}"),
            ("training sites", ", ".join(provenance["training_sites"]) or "not recorded"),
            (read, ", ".join(f"{split} {count}" for split, count in provenance.get(read, {}).items())),
            ("software", ", ".join(f"{name} {release}" for name, release in provenance["software"].items())),
        ]
        rows += [("mind", warning) for warning in provenance.get("warnings", [])]
        for what, value in rows:
            console.say(f"  {what:<16}{value}")
        asked = words_asked(description)
        if asked:
            console.table("what it was asked", COLUMNS, [row.cells() for row in asked])
        show_calibration(console, description["calibration"], read)

    @staticmethod
    def _show_towers(console: Console, verified: VerifiedBundle) -> None:
        description = verified.description
        vision, text = description["encoder"]["vision"], description["encoder"]["text"]
        words, provenance = description["text"], description["provenance"]
        answers = "`vesalius zeroshot`" if words else "`vesalius features`, and no words: it has no tokenizer"
        console.say(f"{verified.reference}   intact, of kind image-text: it answers {answers}")
        for notice in description["notices"]:
            console.say(notice)
        rows = [
            ("family", f"{description['family']}, {description['averaging']['members']} checkpoint(s)"),
            ("images", f"{vision['kind']}, {description['preprocessing']['size_px']} px"),
            ("words", f"{text['kind']}, {text['context_length']} tokens at most"),
            ("tokenizer", words and f"{words['tokenizer']}, {words['vocabulary']} tokens, SHA-256 {words['sha256'][:12]}"),
            ("space", f"{description['encoder']['embedding_dim']} dimensions"),
        ]
        rows += [("checkpoint", f"{file['name']}, SHA-256 {file['sha256'][:12]}") for file in provenance.get("files", [])]
        rows += [("software", ", ".join(f"{name} {release}" for name, release in provenance["software"].items()))]
        rows += [("mind", warning) for warning in provenance.get("warnings", [])]
        for what, value in rows:
            console.say(f"  {what:<16}{value or 'none'}")
        console.say("its scores are contrasts, not probabilities, until `vesalius calibrate` has made a bundle of them")

    @staticmethod
    def _show_audit(console: Console, audit: dict[str, Any] | None, kind: str) -> None:
        if audit is None:
            on = "--slides LABELS.csv" if kind == ZERO_SHOT_SLIDES else "--store STORE"
            console.say(f"not audited yet: vesalius audit BUNDLE {on}")
            return
        figures = audit.get("key_figures", [])
        console.table(
            "last audit", ("figure", "value", "95 % interval"), [(one["label"], one["text"], one["range"]) for one in figures]
        )


def reads(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what a bundle reads and how that becomes logits, a row a fact."""
    from vesalius.bundle.card import cut_of, exclusive, pooling_of

    members = description["averaging"]["members"]
    if description["kind"] == ZERO_SHOT_SLIDES:
        sets = len(description["prompts"]["sets"])
        answers = f"{pooling_of(description)}, mean over {members} network(s), median over {sets} prompt set(s)"
        rows = [("reads slides", cut_of(description)), ("answers", answers)]
    else:
        views = len(description["averaging"]["views"])
        answers = f"mean logits of {members} network(s) and {views} view(s)"
        rows = [("answers", answers), ("views it reads", ", ".join(description["assessable_views"]))]
    if exclusive(description):
        rows.append(("classes", "exclude each other: probabilities add up to 1, the likeliest is said, or none"))
    return rows


def show_calibration(console: Console, table: list[dict[str, Any]], what: str = "films") -> None:
    """Prints what was fitted for each finding, and beneath it what to know of it; `what` was calibrated on."""
    from vesalius.bundle.card import band, number, percent

    columns = (
        "finding",
        what,
        "present",
        "calibrator",
        "T",
        "bias",
        "NLL",
        "calibrated",
        "threshold",
        "abstains between",
        "answered",
    )
    rows = []
    for row in table:
        fitted = (row["calibrator"].replace("_", " "), f"{1 / row['slope']:.3g}", f"{row['intercept']:+.2f}")
        losses = (number(row["nll_before"]), number(row["nll_after"]))
        rule = (f"{row['threshold']:.3f} {row['rule']}", band(row), percent(row["coverage"]))
        rows.append((row["finding"], row["n"], row["n_positive"], *fitted, *losses, *rule))
    console.table("calibration split; NLL of held-out patients in it", columns, rows)
    for row in table:
        if row["notes"]:
            console.say(f"{row['finding']}: {'; '.join(row['notes'])}")
