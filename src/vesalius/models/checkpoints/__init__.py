"""The authors' published checkpoints as weights of this package's networks; one file a family. Light: torch comes when called.

Every size is read from the tensors. Which files, which names, what is left out and what it was compared with: docs/checkpoints.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vesalius.errors import CheckpointUnreadable

if TYPE_CHECKING:
    from torch import Tensor

    from vesalius.models.clip_config import ImageTextConfig, VisionTower

IMAGE_TEXT_FAMILIES = {
    "openai-clip": "openai_clip",
    "chexzero": "openai_clip",
    "biomedclip": "biomedclip",
    "mi-zero": "mi_zero",
    "medclip": "medclip",
    "biovil": "biovil",
}
"""Families of two towers, and the module that reads them."""

VISION_FAMILIES = {"cxr-mae": "cxr_mae"}
"""Families of an encoder of images alone, and the module that reads them."""


@dataclass(frozen=True)
class FamilyFacts:
    """What was found in a checkpoint, and what was done with it.

    Attributes:
        family: Whose layout.
        variant: Which of the family's networks.
        tensors: How many tensors the file holds, those left out among them.
        elements: How many numbers they have.
        dtypes: Of the tensors, as stored; weights become float32.
        sha256: Of the file; two for a model in two files.
        ignored: Names of tensors that were left out: the family's files may hold them and the network has no use for them.
        left: Names of entries that are no tensors (an epoch, an optimizer, training arguments).
        notes: Sentences that a user should read.
    """

    family: str
    variant: str
    tensors: int
    elements: int
    dtypes: tuple[str, ...]
    sha256: tuple[str, ...]
    ignored: tuple[str, ...]
    left: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns a plain dict."""
        return asdict(self)


class Translated(NamedTuple):
    """What a family's module makes of a file's tensors."""

    config: Any
    state: dict[str, Tensor]
    variant: str
    ignored: tuple[str, ...]
    notes: tuple[str, ...]


def read_checkpoint(
    path: str | Path | Sequence[str | Path], family: str, *, sha256: str | Sequence[str] | None = None
) -> tuple[ImageTextConfig, dict[str, Tensor], FamilyFacts]:
    """Reads an authors' checkpoint of two towers.

    Args:
        path: The file; for a family whose towers lie in two files (biovil), both, or the folder they lie in.
        family: One of IMAGE_TEXT_FAMILIES.
        sha256: What the file must hash to, in hex; one a file.

    Returns:
        The configuration, with every size read from the tensors; the state, ready for `ImageTextModel.load_state_dict`, strictly;
        what was found and left out.

    Raises:
        CheckpointMismatch: The file's tensors are not the family's; every one that differs is named.
        CheckpointUnreadable: No such file, no such family, or a file that holds code.
        WrongDigest: The file is not the one it is said to be.
    """
    config, state, facts = _read(path, family, IMAGE_TEXT_FAMILIES, sha256)
    return config, state, facts


def read_vision_checkpoint(
    path: str | Path, family: str, *, sha256: str | None = None
) -> tuple[VisionTower, dict[str, Tensor], FamilyFacts]:
    """Reads an authors' checkpoint of an encoder of images alone; the state is that of `models.clip.VISION_ENCODERS[tower.kind]`.

    Raises:
        CheckpointMismatch: The file's tensors are not the family's; every one that differs is named.
        CheckpointUnreadable: No such file, no such family, or a file that holds code.
        WrongDigest: The file is not the one it is said to be.
    """
    tower, state, facts = _read(path, family, VISION_FAMILIES, sha256)
    return tower, state, facts


def _read(
    path: str | Path | Sequence[str | Path], family: str, families: dict[str, str], sha256: str | Sequence[str] | None
) -> tuple[Any, dict[str, Tensor], FamilyFacts]:
    from vesalius.models.checkpoints.files import read_state_files

    if family not in families:
        raise CheckpointUnreadable(f"no checkpoint reader for family {family!r}; there are: {', '.join(families)}")
    files = read_state_files(path, sha256)
    module = import_module(f"vesalius.models.checkpoints.{families[family]}")
    translated: Translated = module.translate(files.tensors, family)
    facts = FamilyFacts(
        family=family,
        variant=translated.variant,
        tensors=len(files.tensors),
        elements=sum(tensor.numel() for tensor in files.tensors.values()),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in files.tensors.values()})),
        sha256=files.sha256,
        ignored=translated.ignored,
        left=files.left,
        notes=translated.notes,
    )
    return translated.config, translated.state, facts
