"""Images and sentences that were never paired, matched by what they say: a soft target from their labels.

Two reports that both speak of an effusion are no negatives of each other. MedCLIP replaces the one-hot target of the contrast by
how alike the labels of an image and a sentence are, so that images and sentences may come from different patients.

Source: Wang et al. 2022, arXiv:2210.10163 (MedCLIP), eq. 4-7.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax, normalize, softmax

Similarity = Literal["cosine", "dot"]


def semantic_targets(
    image_labels: Float[Tensor, "case finding"],
    sentence_labels: Float[Tensor, "sentence finding"],
    *,
    similarity: Similarity = "cosine",
    sharpness: float = 1.0,
) -> tuple[Float[Tensor, "case sentence"], Float[Tensor, "sentence case"]]:
    """Returns, for each image, how much it should match each sentence (rows add up to 1), and the same for each sentence.

    Args:
        image_labels: 1 present, 0 absent, -1 uncertain; NaN unknown counts as 0.
        sentence_labels: The same, of what a sentence says.
        similarity: `cosine` of the label vectors, as the paper says; `dot` is the plain product that the authors' code takes. A
            vector of zeros is like nothing: its row is flat.
        sharpness: Factor of the similarity before the softmax; 1 is the paper's. A cosine is at most 1, so that a row over hundreds
            of sentences is nearly flat without it.

    Source: Wang et al. 2022, eq. 4-5.
    Checked against: the formula in numpy (tests/reference/losses).
    """
    rows, columns = torch.nan_to_num(image_labels.float()), torch.nan_to_num(sentence_labels.float())
    if similarity == "cosine":
        rows, columns = normalize(rows, dim=1), normalize(columns, dim=1)
    alike = sharpness * rows @ columns.T
    return softmax(alike, dim=1), softmax(alike.T, dim=1)


def semantic_matching_loss(
    images: Float[Tensor, "case dim"],
    texts: Float[Tensor, "sentence dim"],
    scale: Float[Tensor, ""],
    targets: tuple[Float[Tensor, "case sentence"], Float[Tensor, "sentence case"]],
) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, between how alike unit vectors are and how alike they should be, both ways, halved.

    Args:
        images: Unit vectors.
        texts: Unit vectors; not necessarily as many.
        scale: 1 / temperature.
        targets: From `semantic_targets`.

    Source: Wang et al. 2022, eq. 6-7. One-hot targets make it `info_nce`.
    Checked against: `info_nce` with one-hot targets; torch's cross_entropy with soft targets (tests/reference/losses).
    """
    return semantic_matching_share(images, texts, images, texts, scale, targets)


def semantic_matching_share(
    images: Float[Tensor, "case dim"],
    texts: Float[Tensor, "sentence dim"],
    all_images: Float[Tensor, "all_cases dim"],
    all_texts: Float[Tensor, "all_sentences dim"],
    scale: Float[Tensor, ""],
    targets: tuple[Float[Tensor, "case all_sentences"], Float[Tensor, "sentence all_cases"]],
) -> Float[Tensor, ""]:
    """This process's share: its images among all sentences, its sentences among all images.

    The mean over the processes, of equal numbers of each, is `semantic_matching_loss` of all of them.

    Args:
        images: Unit vectors of this process.
        texts: The same.
        all_images: Every process's, gathered with their gradient (`contrastive.gather_embeddings`).
        all_texts: The same.
        scale: 1 / temperature.
        targets: Rows of this process, over the columns of all.
    """
    there = scale * images.float() @ all_texts.float().T
    back = scale * texts.float() @ all_images.float().T
    losses = [
        -(target * log_softmax(logits, dim=1)).sum(dim=1).mean() for target, logits in zip(targets, (there, back), strict=True)
    ]
    return (losses[0] + losses[1]) / 2
