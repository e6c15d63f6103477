"""The model card: what a bundle is, for a person, made from nothing but `bundle.json` and the audit.

Source: Mitchell 2019, arXiv:1810.03993 (what a card holds).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.bundle.format import CLASSIFIER, IMAGE_TEXT, ZERO_SHOT_SLIDES, reference
from vesalius.bundle.words_asked import COLUMNS, how_asked, words_asked

NOT_AUDITED = (
    "## Audit\n\nNot audited yet: nobody has measured this bundle on films it was neither trained nor calibrated on.\n\n"
    "    vesalius audit BUNDLE --store STORE\n"
)
SLIDES_NOT_AUDITED = (
    "## Audit\n\nNot audited yet: nobody has measured this bundle on slides it was not calibrated on.\n\n"
    "    vesalius audit BUNDLE --slides LABELS.csv\n"
)


def write_card(description: dict[str, Any], bundle_id: str, audit: str | None = None) -> str:
    """Returns `card.md`.

    Args:
        description: What `bundle.json` says.
        bundle_id: SHA-256 of MANIFEST.json, in hex.
        audit: The audit's section in Markdown, from `## ` on; without it the card says that nobody has audited the bundle.
    """
    if description["kind"] == IMAGE_TEXT:
        sections = [_head(description, bundle_id), _use_of_words(description), _towers(description), _origin(description)]
    else:
        slides = description["kind"] == ZERO_SHOT_SLIDES
        sections = [
            _head(description, bundle_id),
            _use_of_slides(description) if slides else _use(description),
            *([] if description["kind"] == CLASSIFIER else [_asked(description)]),
            _network(description) if description["kind"] == CLASSIFIER else _towers(description),
            _rules(description),
            _data(description),
            audit or (SLIDES_NOT_AUDITED if slides else NOT_AUDITED),
        ]
    return "\n".join(section.rstrip("\n") + "\n" for section in sections)


def _head(description: dict[str, Any], bundle_id: str) -> str:
    notices = "".join(f"\n> {notice}\n" for notice in description["notices"])
    readers = {IMAGE_TEXT: "A physician reads the film or the slide", ZERO_SHOT_SLIDES: "A pathologist reads the slide"}
    reader = readers.get(description["kind"], "A radiologist reads the film")
    return (
        f"# {description['name']}\n\n`{reference(description['name'], bundle_id)}`\n\n"
        f"Research software; not for medical use. {reader}; this is a second look at it.\n{notices}"
    )


def _use(description: dict[str, Any]) -> str:
    what, said = _answers(description)
    return (
        "## What it answers\n\n"
        f"- {what}: {', '.join(description['findings'])}.\n"
        f"- Films: chest radiographs, {', '.join(description['assessable_views'])}; any other known view is not assessable.\n{said}"
        "- Of each it says present, absent, or abstains and says why: too close to call, unlike the films it knows, "
        "too poor a film, a view it cannot read.\n"
        "- Not for: other body parts, other kinds of image, findings that are not named above.\n"
    )


def _answers(description: Mapping[str, Any]) -> tuple[str, str]:
    """What its answers are called, and what to know of classes."""
    if not exclusive(description):
        return "Findings", ""
    return "Classes", (
        "- The classes exclude each other: their probabilities add up to 1, the likeliest is present and the others are absent, or "
        "no class is answered.\n"
    )


def _use_of_slides(description: dict[str, Any]) -> str:
    what, said = _answers(description)
    return (
        "## What it answers\n\n"
        f"- {what}: {', '.join(description['findings'])}.\n"
        f"- Whole slides, {cut_of(description)}. A slide that does not say its micrometres per pixel needs `--mpp`.\n"
        f"- A slide's score: {pooling_of(description)}, median over {len(description['prompts']['sets'])} prompt set(s).\n{said}"
        "- Of each it says present, absent, or abstains and says why: too close to call, or unlike the slides it knows.\n"
        "- Not for: other organs, stains or preparations than it was calibrated on, other scales, findings not named above.\n"
    )


def exclusive(description: Mapping[str, Any]) -> bool:
    """Do its findings exclude each other?"""
    from vesalius.uncertainty.class_decisions import ClassPolicy

    policy = description.get("policy")
    return isinstance(policy, Mapping) and policy.get("kind") == ClassPolicy.kind


def cut_of(description: Mapping[str, Any]) -> str:
    """Returns how a bundle of slides cuts them, in words."""
    grid = description["slide"]["grid"]
    side_um = grid["side_px"] * grid["mpp"]
    return (
        f"cut into patches of {grid['side_px']} px at {grid['mpp']:g} micrometres per pixel ({side_um:g} micrometres on the glass)"
    )


def pooling_of(description: Mapping[str, Any]) -> str:
    """Returns how patches become a slide's score, in words."""
    slide = description["slide"]
    name = "mean of all patches" if slide["pooling"] == "mean" else f"{slide['of_the_greatest']} of the {slide['pooling']} patches"
    return name if slide["smoothing"] == "none" else f"{name} after smoothing of {slide['smoothing']}"


def _network(description: dict[str, Any]) -> str:
    encoder, preprocessing, averaging = description["encoder"], description["preprocessing"], description["averaging"]
    views = len(averaging["views"])
    return (
        "## Network\n\n"
        f"- Encoder: {encoder['encoder']}, {preprocessing['size_px']} px, {description['precision']}.\n"
        f"- Answers are the mean of the logits of {averaging['members']} network{'s' * (averaging['members'] > 1)} "
        f"and {views} view{'s' * (views > 1)} of the film.\n"
        f"- Order, locked: {'; '.join(description['order'])}.\n"
    )


def _use_of_words(description: dict[str, Any]) -> str:
    return (
        "## What it answers\n\n"
        "- Any words: `vesalius zeroshot BUNDLE FILM --finding TEXT` says how much nearer it lies to them than to their denial.\n"
        "- Its scores are contrasts, not probabilities: nobody has calibrated them, there is no threshold, and a score of one "
        "finding cannot be held against that of another.\n"
        "- `vesalius calibrate` makes a bundle with probabilities, decisions and abstention of it.\n"
        "- Not for: words that its training texts did not hold; it answers those too, and does not say so.\n"
    )


def _asked(description: dict[str, Any]) -> str:
    rows = [f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |" for row in words_asked(description)]
    how = f"In words, locked: {how_asked(description)}. Every sentence is in `bundle.json`."
    return "\n".join(["## What it was asked", "", how, "", f"| {' | '.join(COLUMNS)} |", "|---|---|---|", *rows]) + "\n"


def _towers(description: dict[str, Any]) -> str:
    encoder, contract = description["encoder"], description["preprocessing"]
    vision, text, members = encoder["vision"], encoder["text"], description["averaging"]["members"]
    lines = [
        "## Network",
        "",
        f"- Family: {description['family']}; {members} checkpoint{'s' * (members > 1)}.",
        f"- Images: {vision['kind']}, {contract['size_px']} px. Words: {text['kind']}, {text['context_length']} tokens at most. "
        f"They meet in {encoder['embedding_dim']} dimensions.",
    ]
    words = description.get("text")
    if description["kind"] == IMAGE_TEXT and not words:
        lines.append("- Tokenizer: none. It embeds films and patches; words cannot be asked of it.")
    if words:
        lines.append(f"- Tokenizer: {words['tokenizer']}, {words['vocabulary']} tokens, SHA-256 {words['sha256'][:12]}.")
    if "order" in description:
        lines.append(f"- Order, locked: {'; '.join(description['order'])}.")
    return "\n".join(lines) + "\n"


def _origin(description: dict[str, Any]) -> str:
    provenance = description["provenance"]
    lines = ["## Where it comes from", ""]
    for number, file in enumerate(provenance.get("files", []), start=1):
        about = f", {file['note']}" if file.get("note") else ""
        lines.append(f"- Checkpoint {number}: {file['name']}, SHA-256 {file['sha256']}{about}.")
    if provenance.get("training_sites"):
        lines.append(f"- Training sites: {', '.join(provenance['training_sites'])}.")
    if provenance.get("licence"):
        lines.append(f"- Licence of the weights, as far as known: {provenance['licence']}.")
    if provenance.get("date"):
        lines.append(f"- Date: {provenance['date']}.")
    lines.append(f"- Software: {', '.join(f'{name} {release}' for name, release in provenance['software'].items())}.")
    lines += [f"- Mind: {warning}" for warning in provenance.get("warnings", [])]
    return "\n".join(lines) + "\n"


def _rules(description: dict[str, Any]) -> str:
    what = "slides" if description["kind"] == ZERO_SHOT_SLIDES else "films"
    of_classes = (
        " It is that of the true class among all, and so the same in each row; so is the threshold, which is the least probability "
        "at which the likeliest class is said."
    )
    lines = [
        "## Calibration and decision rules",
        "",
        "Fitted on the calibration split only. NLL is that of held-out patients inside this split, in nats."
        + (of_classes if exclusive(description) else ""),
        "",
        f"| finding | {what} | present | calibrator | NLL before | NLL after | threshold | abstains between | answered |",
        "|---|---:|---:|---|---:|---:|---:|---|---:|",
    ]
    for row in description["calibration"]:
        kind = row["calibrator"].replace("_", " ")
        lines.append(
            f"| {row['finding']} | {row['n']} | {row['n_positive']} | {kind} | {number(row['nll_before'])} "
            f"| {number(row['nll_after'])} | {row['threshold']:.3f} ({row['rule']}) | {band(row)} | {percent(row['coverage'])} |"
        )
    notes = [f"- {row['finding']}: {note}" for row in description["calibration"] for note in row["notes"]]
    gate = description["gate"]
    lines += ["", *notes, ""] if notes else [""]
    lines.append(
        f"Out-of-distribution gate: {', '.join(gate['scores'])}; a {what[:-1]} whose score is above {gate['threshold']:.4g} "
        f"gets no answer (quantile {gate['quantile']:g} of cross-fitted scores)."
    )
    if what == "slides":
        lines.append(f"It looks at one vector a slide: {description['slide']['feature']}.")
    if gate["note"]:
        lines.append(f"Its limit: {gate['note']}.")
    return "\n".join(lines) + "\n"


def _data(description: dict[str, Any]) -> str:
    provenance = description["provenance"]
    lines = ["## Data and code", "", f"- Training sites: {', '.join(provenance['training_sites']) or 'not recorded'}."]
    for what in ("films", "slides"):
        if what in provenance:
            counts = ", ".join(f"{split} {count}" for split, count in provenance[what].items())
            lines.append(f"- {what.capitalize()}: {counts}.")
    if "store_fingerprint" in provenance:
        lines.append(f"- Store: SHA-256 of its manifest {provenance['store_fingerprint'][:12]}.")
    if provenance.get("date"):
        lines.append(f"- Date: {provenance['date']}.")
    lines.append(f"- Software: {', '.join(f'{name} {release}' for name, release in provenance['software'].items())}.")
    lines += [f"- Mind: {warning}" for warning in provenance.get("warnings", [])]
    return "\n".join(lines) + "\n"


def band(row: Mapping[str, Any]) -> str:
    """Returns between which probabilities a finding gets no answer, or a dash where it always does."""
    return "–" if row["low"] == row["high"] else f"{row['low']:.3f} and {row['high']:.3f}"


def number(value: float | None) -> str:
    """Returns three digits after the point, or a dash for what is not known."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Returns a share as a percentage, or a dash."""
    return "–" if value is None else f"{100 * value:.0f} %"
