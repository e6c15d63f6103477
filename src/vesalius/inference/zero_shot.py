"""How one film becomes logits by words alone: an image is embedded once a checkpoint, whatever the number of prompts.

A logit here is the raw contrast, mean over the checkpoints: cosine with the words for a finding less cosine with the words against
it. It is no probability. CheXzero's authors encode every film twice a checkpoint, once for either half of each pair; the answers
are equal.

Sources: Tiu 2022 (CheXzero). Radford 2021, arXiv:2103.00020 (CLIP).
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.inference.film import AS_IT_IS, NetworkOutput, Precision, device_of, dtype_of
from vesalius.models.contracts import FamilyContract
from vesalius.zeroshot.heads import Cosines, TextHead, cosines

if TYPE_CHECKING:
    from vesalius.models.clip import ImageTextModel
    from vesalius.models.contracts import Contract
    from vesalius.models.image_tower import ImageTower
    from vesalius.types import Image
    from vesalius.zeroshot.prompts import PromptKind

EVIDENCE_GRID = 64
"""Patches a side of evidence that had to be placed on the film's padded square anew."""


class Embedded(NamedTuple):
    """Some films in the space of words.

    Attributes:
        members: Unit vectors, one row a checkpoint and film.
        features: Pooled features before projection, checkpoints side by side.
        patches: Unit vectors of the patches of each checkpoint; empty unless asked for.
    """

    members: Float32[np.ndarray, "member case dim"]
    features: Float64[np.ndarray, "case width"]
    patches: tuple[Float32[np.ndarray, "case dim rows columns"], ...] = ()


class ImageEmbedder:
    """Vision towers, their contract and a precision: from films to unit vectors in the space of words.

    Args:
        models: Checkpoints of an ensemble; their vision towers are taken over: moved to the device, cast, laid out to answer and no
            longer to be trained. Their text towers are not touched.
        contract: From Image to tensor, one for all.
        precision: What the vision encoders are held in; projections and everything after them are float32.
        device: `auto` takes an accelerator where there is one.

    Raises:
        EmptyInput: No model.
    """

    def __init__(
        self,
        models: Sequence[ImageTextModel | ImageTower],
        contract: Contract,
        *,
        precision: Precision = "float32",
        device: str = "auto",
    ) -> None:
        from vesalius.models.image_tower import ImageTower

        if not models:
            raise EmptyInput("zero-shot inference needs at least one checkpoint")
        self.preprocessing, self.precision, self.device = contract, precision, device_of(device)
        towers = [model if isinstance(model, ImageTower) else ImageTower.of(model) for model in models]
        self.towers = [tower.answer_in(dtype_of(precision), self.device) for tower in towers]
        self.scales = tuple(tower.scale for tower in self.towers)

    def with_contract(self, contract: Contract) -> ImageEmbedder:
        """Returns the same towers under another contract."""
        other = copy.copy(self)
        other.preprocessing = contract
        return other

    def embed(self, images: Sequence[Image], *, patches: bool = False) -> Embedded:
        """Returns films in the space of words, in their order.

        Raises:
            EmptyInput: No film.
        """
        return self.embed_tensor(self.preprocessing.apply(images), patches=patches)

    def embed_tensor(self, films: Float32[np.ndarray, "case channel height width"], *, patches: bool = False) -> Embedded:
        """Does the same from what the contract's `apply` made."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(films)).to(self.device, dtype_of(self.precision))
            seen = [tower(batch, patches=patches) for tower in self.towers]
        return Embedded(
            np.stack([one.embeddings.cpu().numpy() for one in seen]),
            np.concatenate([one.features.double().cpu().numpy() for one in seen], axis=1),
            tuple(one.patches.cpu().numpy() for one in seen if one.patches is not None),
        )


class TowerInference(ABC):
    """Vision towers and something that was made of words: from films to contrasts, in the place of a trained classifier's networks.

    Attributes:
        embedder: From films to unit vectors.
    """

    embedder: ImageEmbedder
    views = AS_IT_IS
    """A film is looked at as it is."""

    @property
    def preprocessing(self) -> Contract:
        """The contract from Image to tensor."""
        return self.embedder.preprocessing

    @property
    def precision(self) -> Precision:
        """What the vision encoders are held in."""
        return self.embedder.precision

    @property
    def networks(self) -> list[ImageTower]:
        """The checkpoints' vision towers."""
        return self.embedder.towers

    @property
    @abstractmethod
    def findings(self) -> tuple[str, ...]:
        """What it answers to, in the order of the logits."""

    @property
    @abstractmethod
    def kind(self) -> PromptKind:
        """Findings, each for itself, or classes that exclude each other."""

    @abstractmethod
    def read(self, films: Embedded) -> NetworkOutput:
        """Returns what the words say of films that are embedded already."""

    def run(self, images: Sequence[Image], *, evidence: bool = False) -> NetworkOutput:
        """Returns contrasts, pooled features and, if asked for, where on each film the patches agree with the words.

        Raises:
            EmptyInput: No film.
        """
        output = self.read(self.embedder.embed(images, patches=evidence))
        if output.evidence is None:
            return output
        return NetworkOutput(output.logits, output.features, place_evidence(output.evidence, images, self.preprocessing))

    def run_tensor(self, films: Float32[np.ndarray, "case channel height width"], *, evidence: bool = False) -> NetworkOutput:
        """Does the same from what the contract's `apply` made; evidence then lies over the square that the network saw."""
        return self.read(self.embedder.embed_tensor(films, patches=evidence))


class ZeroShotInference(TowerInference):
    """Vision towers and embedded words: from films to contrasts, in the place of a trained classifier's networks.

    Args:
        models: Checkpoints of an ensemble, or an `ImageEmbedder` of them (its own contract does not count).
        contract: From Image to tensor, one for all checkpoints.
        heads: Embedded words, one head a checkpoint, in the same order.
        precision: What the vision encoders are held in; ignored for an `ImageEmbedder`, which has its own.
        device: `auto` takes an accelerator where there is one.

    Raises:
        ShapeMismatch: Not one head a checkpoint, or heads of different findings.

    Source: Tiu 2022 (CheXzero).
    Checked against: the authors' procedure written out (tests/reference/test_zero_shot_arithmetic.py, benchmarks/zeroshot.py).
    """

    def __init__(
        self,
        models: Sequence[ImageTextModel | ImageTower] | ImageEmbedder,
        contract: Contract,
        heads: Sequence[TextHead],
        *,
        precision: Precision = "float32",
        device: str = "auto",
    ) -> None:
        if isinstance(models, ImageEmbedder):
            self.embedder = models.with_contract(contract)
        else:
            self.embedder = ImageEmbedder(models, contract, precision=precision, device=device)
        if len(heads) != len(self.embedder.towers) or len({(head.kind, head.findings) for head in heads}) != 1:
            raise ShapeMismatch(
                f"{len(self.embedder.towers)} checkpoint(s), {len(heads)} head(s); expected one each, all of the same findings"
            )
        self.heads = tuple(heads)

    @property
    def findings(self) -> tuple[str, ...]:
        """What it answers to, in the order of the logits."""
        return self.heads[0].findings

    @property
    def kind(self) -> PromptKind:
        """Findings, each for itself, or classes that exclude each other."""
        return self.heads[0].kind

    def read(self, films: Embedded) -> NetworkOutput:
        """Returns what the words say of films that are embedded already."""
        logits = np.mean([member.contrast for member in self.cosines(films)], axis=0)
        return NetworkOutput(logits, films.features, self.evidence(films) if films.patches else None)

    def cosines(self, films: Embedded) -> list[Cosines]:
        """Returns what each checkpoint says to the words for and against: what `paired_score` and its like are made of."""
        return [cosines(rows, head) for rows, head in zip(films.members, self.heads, strict=True)]

    def evidence(self, films: Embedded) -> Float32[np.ndarray, "case finding rows columns"]:
        """Returns the contrast of every patch times the learned scale, mean over checkpoints: a patch's logit as in training.

        Of classes it is the cosine above the mean of all classes. A patch is projected like the whole image. Of a transformer that
        speaks through its class token the patches were never taught to; its map shows what they have picked up all the same.
        """
        scales = self.embedder.scales
        against = [
            head.difference - (head.difference.mean(axis=0) if head.kind == "classes" else np.float32(0)) for head in self.heads
        ]
        maps = [
            scale * np.einsum("cdhw,fd->cfhw", patches, rows)
            for scale, patches, rows in zip(scales, films.patches, against, strict=True)
        ]
        mean: Float32[np.ndarray, "case finding rows columns"] = np.mean(maps, axis=0).astype(np.float32)
        return mean


def place_evidence(
    evidence: Float32[np.ndarray, "case finding rows columns"], images: Sequence[Image], contract: Contract
) -> Float32[np.ndarray, "case finding height width"]:
    """Returns evidence over each film's padded square, where the contract shows the network another part of the film.

    What the network did not see gets the least evidence of that film, at most 0: no colour.
    """
    if not isinstance(contract, FamilyContract) or all(_is_padded_square(contract, *image.pixels.shape) for image in images):
        return evidence
    placed = [_place(maps, contract, *image.pixels.shape) for maps, image in zip(evidence, images, strict=True)]
    return np.stack(placed)


def _is_padded_square(contract: FamilyContract, height: int, width: int) -> bool:
    """Does the network see the film's padded square, and nothing less or more of it?"""
    return contract.fit != "shortest" and math.isclose(contract.square_seen(height, width)[2], max(height, width))


def _place(
    maps: Float32[np.ndarray, "finding rows columns"], contract: FamilyContract, height: int, width: int
) -> Float32[np.ndarray, "finding height width"]:
    top, left, side = contract.square_seen(height, width)
    longest = max(height, width)
    centres = (np.arange(EVIDENCE_GRID) + 0.5) / EVIDENCE_GRID * longest
    rows = (centres - (longest - height) / 2 - top) / side * maps.shape[1] - 0.5
    columns = (centres - (longest - width) / 2 - left) / side * maps.shape[2] - 0.5
    from scipy.ndimage import map_coordinates

    places = np.meshgrid(rows, columns, indexing="ij")
    seen = (np.abs(places[0] + 0.5 - maps.shape[1] / 2) <= maps.shape[1] / 2) & (
        np.abs(places[1] + 0.5 - maps.shape[2] / 2) <= maps.shape[2] / 2
    )
    least = np.minimum(maps.min(axis=(1, 2)), 0.0)
    sampled = np.stack([map_coordinates(one, places, order=1, mode="nearest") for one in maps])
    placed: Float32[np.ndarray, "finding height width"] = np.where(seen, sampled, least[:, None, None]).astype(np.float32)
    return placed
