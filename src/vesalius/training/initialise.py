"""Starting from earlier weights: everything that fits is taken, and what is not is said.

The encoder must agree tensor by tensor, but for two things that have a known remedy: position embeddings are interpolated to
another number of patches, and the first layer is brought to another number of channels. The head is taken finding by finding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vesalius.errors import RunError
from vesalius.models.config import ClassifierConfig
from vesalius.training.run import load_run

ENCODER = "encoder."
TORCH_FILES = frozenset({".pt", ".pth"})


def initialise(network: nn.Module, config: ClassifierConfig, source: Path) -> list[str]:
    """Loads the weights of a run, a .safetensors file or a CXR-MAE checkpoint into `network`; says all that is not as it was there.

    Raises:
        RunError: No weights there, or an encoder that does not agree; the message lists what differs.
        CheckpointMismatch: A .pt or .pth file that is no CXR-MAE checkpoint; every tensor that differs is named.
    """
    findings: tuple[str, ...] = ()
    weights_file = source
    if source.is_dir():
        run = load_run(source)
        if run.config.encoder != config.encoder:
            raise RunError(f"{source} has the encoder {run.config.encoder}, this run {config.encoder}; they must be the same")
        findings, weights_file = run.findings, run.weights
    notes: list[str] = []
    theirs = read_masked_autoencoder(weights_file, notes) if weights_file.suffix in TORCH_FILES else read_weights(weights_file)
    ours = network.state_dict()
    encoder = {name: mine for name, mine in ours.items() if name.startswith(ENCODER)}
    head = {name: mine for name, mine in ours.items() if name not in encoder}
    extra = [name for name in theirs if name.startswith(ENCODER) and name not in encoder]
    if extra:
        raise RunError(f"{source} has weights that {config.encoder} has no place for: {_some(extra)}; use its own encoder")
    taken = {name: fit_encoder(name, theirs.get(name), mine, notes, source) for name, mine in encoder.items()}
    taken |= fit_head(head, theirs, config.findings, findings)
    notes += describe_head(config.findings, findings, set(head) - set(taken))
    network.load_state_dict(taken, strict=False)
    return notes


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        RunError: It is missing or not such a file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (FileNotFoundError, SafetensorError) as error:
        raise RunError(f"no weights at {path} ({type(error).__name__}); expected a run's folder or a .safetensors file") from error


def read_masked_autoencoder(path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Reads the encoder of a CXR-MAE checkpoint as a classifier's; adds to `notes` what was left out.

    Raises:
        CheckpointUnreadable: It is missing, or holds code.
        CheckpointMismatch: It is no such checkpoint; the message names every tensor that differs.
    """
    from vesalius.models.checkpoints import read_vision_checkpoint
    from vesalius.models.checkpoints.cxr_mae import as_classifier_encoder

    _, state, facts = read_vision_checkpoint(path, "cxr-mae")
    notes.append(f"CXR-MAE's encoder ({facts.variant}) was taken; {len(facts.ignored)} tensors of its decoder were not")
    return as_classifier_encoder(state)


def fit_encoder(name: str, theirs: Tensor | None, mine: Tensor, notes: list[str], source: Path) -> Tensor:
    """Returns their tensor in the shape of ours.

    Raises:
        RunError: It is missing, or its shape has no known remedy.
    """
    if theirs is None:
        raise RunError(f"{source} lacks {name}; its encoder is another one, or it holds no encoder of this package")
    if theirs.shape == mine.shape:
        return theirs
    if name.endswith("position_embeddings") and theirs.ndim == 3 and theirs.shape[2] == mine.shape[2]:
        notes.append(f"position embeddings were interpolated from {theirs.shape[1] - 1} to {mine.shape[1] - 1} patches")
        return interpolate_positions(theirs, mine.shape[1])
    if theirs.ndim == 4 and theirs.shape[0] == mine.shape[0] and theirs.shape[2:] == mine.shape[2:]:
        notes.append(f"the first layer was brought from {theirs.shape[1]} to {mine.shape[1]} channels")
        return theirs.sum(dim=1, keepdim=True).expand(mine.shape) / mine.shape[1]
    raise RunError(f"{name} in {source} has shape {tuple(theirs.shape)}; this network's is {tuple(mine.shape)}")


def interpolate_positions(positions: Float[Tensor, "1 token dim"], tokens: int) -> Float[Tensor, "1 new_token dim"]:
    """Returns position embeddings for another number of patches; the first one, the class token's, stays as it is.

    Source: Dosovitskiy et al. 2021, section 3.2; bicubic, as the authors' and transformers' code does.
    """
    side, new_side = math.isqrt(positions.shape[1] - 1), math.isqrt(tokens - 1)
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    larger = nn.functional.interpolate(grid.float(), size=(new_side, new_side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], larger.permute(0, 2, 3, 1).reshape(1, new_side * new_side, -1)], dim=1)


def fit_head(ours: dict[str, Tensor], theirs: dict[str, Tensor], wanted: Sequence[str], there: Sequence[str]) -> dict[str, Tensor]:
    """Returns the head's tensors with the rows of findings that both know; the other rows stay as they are."""
    shared = [(wanted.index(name), there.index(name)) for name in wanted if name in there]
    taken: dict[str, Tensor] = {}
    for name, mine in ours.items():
        source = theirs.get(name)
        if source is None or not shared or source.shape[1:] != mine.shape[1:]:
            continue
        taken[name] = mine.clone()
        taken[name][[to for to, _ in shared]] = source[[where for _, where in shared]]
    return taken


def describe_head(wanted: Sequence[str], there: Sequence[str], untouched: set[str]) -> list[str]:
    """Says which findings begin anew."""
    if not there:
        return ["the head begins anew for every finding: the file does not say which findings it has"]
    notes = []
    if new := [name for name in wanted if name not in there]:
        notes.append(f"the head begins anew for {', '.join(new)}: the earlier run did not learn it")
    if left := [name for name in there if name not in wanted]:
        notes.append(f"the head of {', '.join(left)} was not taken: this run does not learn it")
    if untouched and len(new) < len(wanted):
        notes.append(f"not in the earlier run, so begun anew: {_some(sorted(untouched))}")
    return notes


def _some(names: Sequence[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
