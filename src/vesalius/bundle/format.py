"""The bundle on disk: which files, what they are called, and how JSON is written so that equal content is equal bytes.

    bundle.json                what answers: preprocessing, precision, averaging, calibrators, thresholds, gate, provenance
    weights.safetensors        the network; weights-1, weights-2 ... for an ensemble
    statistics.safetensors     arrays of the out-of-distribution gate
    tokenizer.json             how words become ids; of kind `image-text` only
    text.safetensors           the embedded prompts, locked; of kind `zero-shot` and `zero-shot-slides` only
    MANIFEST.json              SHA-256 of the files above; the bundle's id is the SHA-256 of this file
    card.md                    the model card
    audit/                     the last audit
    audit/MANIFEST.json        SHA-256 of card and audit, and the id of the bundle they speak of

An audit is added after the bundle was locked and changes nothing of what answers, so it has a manifest of its own and the
id stays. Nothing here is executable, and nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vesalius.errors import BundleError

FORMAT = 1
CLASSIFIER, IMAGE_TEXT, ZERO_SHOT, ZERO_SHOT_SLIDES = "classifier", "image-text", "zero-shot", "zero-shot-slides"
"""Kinds: a trained classifier; two towers and a tokenizer, which answer to any words and are not calibrated; and such towers with
prompts that were locked and calibrated, which answer like a classifier: for films, or for whole slides."""
DESCRIPTION = "bundle.json"
STATISTICS = "statistics.safetensors"
MANIFEST = "MANIFEST.json"
TOKENIZER = "tokenizer.json"
TEXT = "text.safetensors"
CARD = "card.md"
AUDIT = "audit"
AUDIT_MANIFEST = "audit/MANIFEST.json"
RULES = ("calibrate", "threshold", "abstain inside the band", "out-of-distribution gate overrules")
CLASS_RULES = ("calibrate", "likeliest class, or abstain below the cut", "out-of-distribution gate overrules")
"""What happens to logits, in order: of findings, and of classes that exclude each other."""
REQUIRED = (
    "format", "kind", "name", "findings", "notices", "encoder", "preprocessing", "precision", "averaging", "order",
    "calibrator", "policy", "gate", "assessable_views", "calibration", "provenance",
)  # fmt: skip
REQUIRED_OF = {
    CLASSIFIER: REQUIRED,
    IMAGE_TEXT: ("format", "kind", "name", "notices", "family", "encoder", "preprocessing", "text", "averaging", "provenance"),
    ZERO_SHOT: (*REQUIRED, "family", "prompts"),
    ZERO_SHOT_SLIDES: (*(key for key in REQUIRED if key != "assessable_views"), "family", "prompts", "slide"),
}
"""What `bundle.json` must hold, by kind."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> None:
    """Refuses a bundle's name that could not be a file's.

    Raises:
        BundleError: The message says what a name is made of.
    """
    if not NAME.fullmatch(name):
        raise BundleError(f"a bundle cannot be called {name!r}; use letters, digits, '.', '-', '_', at most 64: --name NAME")


def weights_names(members: int) -> tuple[str, ...]:
    """Returns the weight files of so many members."""
    if members == 1:
        return ("weights.safetensors",)
    return tuple(f"weights-{member}.safetensors" for member in range(1, members + 1))


def reference(name: str, bundle_id: str) -> str:
    """Returns how predictions name a bundle: `NAME@sha256:` and the first 12 hex digits of its id."""
    return f"{name}@sha256:{bundle_id[:12]}"


def to_bytes(value: Any) -> bytes:
    """Returns `value` as JSON, the same bytes for the same content; floats are exact.

    Raises:
        BundleError: It holds NaN or an infinity, which JSON has no word for.
    """
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise BundleError(f"this cannot be kept in a bundle: {error}; fit again on cases with finite logits") from error
    return f"{text}\n".encode()


def from_file(path: Path) -> dict[str, Any]:
    """Reads one JSON object.

    Raises:
        BundleError: The file is missing or holds anything else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        how = "make one with `vesalius calibrate`, or of images and words with `vesalius bundle import`"
        raise BundleError(f"no bundle at {path.parent}: {path.name} is missing; {how}") from None
    except NotADirectoryError:
        raise BundleError(
            f"{path.parent} is a file; a bundle is a folder, made by `vesalius calibrate` or `vesalius bundle import`"
        ) from None
    except ValueError:
        raise BundleError(f"{path.name} of {path.parent} is not JSON; fetch the bundle again from where it came") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path.name} of {path.parent} is not a JSON object; fetch the bundle again from where it came")
    return value


def check_format(document: dict[str, Any], path: Path) -> None:
    """Refuses a file of another format version.

    Raises:
        BundleError: This version does not read it; the message says which it does.
    """
    if document.get("format") != FORMAT:
        raise BundleError(
            f"{path.name} of {path.parent} has format {document.get('format')!r}; this version of vesalius reads {FORMAT}; "
            "install the version that made the bundle, or calibrate the run again with this one"
        )


def digest(content: bytes) -> str:
    """Returns SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file in hex, without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_bytes(digests: dict[str, str], *, bundle_id: str | None = None) -> bytes:
    """Returns a manifest; `bundle_id` is what an audit's manifest speaks of."""
    about = {} if bundle_id is None else {"bundle": bundle_id}
    return to_bytes({"format": FORMAT, "files": dict(sorted(digests.items()))} | about)


def belongs_to_audit(name: str) -> bool:
    """Is it covered by the audit's manifest, and not by the bundle's?"""
    return name == CARD or name.startswith(f"{AUDIT}/")


def check_names(names: Iterable[str]) -> None:
    """Refuses file names that point out of the bundle.

    Raises:
        BundleError: A name is absolute, has `..` or a backslash.
    """
    for name in names:
        parts = name.split("/")
        if "\\" in name or any(part in {"", ".", ".."} for part in parts):
            raise BundleError(f"a bundle cannot hold a file called {name!r}: names are relative and stay inside the folder")
