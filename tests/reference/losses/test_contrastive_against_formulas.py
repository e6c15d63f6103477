"""Contrasts against their papers' formulas, written anew in float64; the language likelihood against transformers' own head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from vesalius.losses.contrastive import info_nce, shared_targets, symmetric_info_nce
from vesalius.losses.semantic_matching import semantic_matching_loss, semantic_matching_share, semantic_targets
from vesalius.models.clip_config import build_config
from vesalius.training.language import LanguageModel

GENERATOR = np.random.default_rng(0)
IMAGES, TEXTS = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in GENERATOR.normal(size=(2, 9, 6)))
LABELS, SAID = GENERATOR.integers(-1, 2, (9, 4)).astype(float), GENERATOR.integers(-1, 2, (9, 4)).astype(float)
SCALE = 1 / 0.07


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def test_info_nce_pair_by_pair() -> None:
    """-log of the share of exp(similarity / temperature) that falls on the own pair, over both directions (van den Oord, eq. 4)."""
    similarity = np.exp(SCALE * IMAGES @ TEXTS.T)
    each = [-np.log(similarity[k, k] / similarity[k].sum()) - np.log(similarity[k, k] / similarity[:, k].sum()) for k in range(9)]
    assert float(info_nce(*tensors(IMAGES, TEXTS), torch.tensor(SCALE))) == pytest.approx(np.mean(each) / 2, rel=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("sharpness", [1.0, 10.0])
def test_semantic_matching(similarity: str, sharpness: float) -> None:
    """Wang et al. 2022, eq. 4-7: targets are softmaxes of how alike labels are, predictions of how alike embeddings are."""
    rows, columns = LABELS.copy(), SAID.copy()
    rows[2, 1] = np.nan
    known = np.nan_to_num(rows)
    alike = known @ columns.T
    if similarity == "cosine":
        lengths = np.linalg.norm(known, axis=1)[:, None] * np.linalg.norm(columns, axis=1)[None]
        alike = np.divide(alike, lengths, out=np.zeros_like(alike), where=lengths > 0)
    there, back = softmax(sharpness * alike), softmax(sharpness * alike.T)
    logits = SCALE * IMAGES @ TEXTS.T
    expected = -0.5 * ((there * np.log(softmax(logits))).sum(axis=1).mean() + (back * np.log(softmax(logits.T))).sum(axis=1).mean())
    targets = semantic_targets(*tensors(rows, columns), similarity=similarity, sharpness=sharpness)
    np.testing.assert_allclose(targets[0], there, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(targets[1], back, rtol=1e-5, atol=1e-7)
    given = semantic_matching_loss(*tensors(IMAGES, TEXTS), torch.tensor(SCALE), targets)
    assert float(given) == pytest.approx(expected, rel=1e-5)


def test_soft_targets_are_torch_s_cross_entropy_and_images_need_not_be_as_many_as_texts() -> None:
    targets = semantic_targets(*tensors(LABELS[:5], SAID))
    images, texts = tensors(IMAGES[:5], TEXTS)
    logits = (SCALE * images @ texts.T).float()
    expected = (cross_entropy(logits, targets[0]) + cross_entropy(logits.T, targets[1])) / 2
    torch.testing.assert_close(semantic_matching_loss(images, texts, torch.tensor(SCALE), targets).float(), expected)


def test_shared_targets_are_equal_shares_of_the_right_ones() -> None:
    """Yang et al. 2022 (UniCL), eq. 3: the mean over all right ones of -log of their share."""
    right = np.eye(9, dtype=bool)
    right[0, 1] = right[3, 5] = right[3, 6] = True
    logits = SCALE * IMAGES @ TEXTS.T
    log_there, log_back = np.log(softmax(logits)), np.log(softmax(logits.T))
    there = [-np.mean([log_there[image, text] for text in range(9) if right[text, image]]) for image in range(9)]
    back = [-np.mean([log_back[text, image] for image in range(9) if right[text, image]]) for text in range(9)]
    given = semantic_matching_loss(*tensors(IMAGES, TEXTS), torch.tensor(SCALE), shared_targets(torch.from_numpy(right)))
    assert float(given) == pytest.approx((np.mean(there) + np.mean(back)) / 2, rel=1e-5)


def test_shares_of_three_processes_average_to_the_whole() -> None:
    images, texts = tensors(IMAGES, TEXTS)
    targets = semantic_targets(*tensors(LABELS, SAID))
    scale = torch.tensor(SCALE)
    soft, hard = [], []
    for first in (0, 3, 6):
        own = slice(first, first + 3)
        soft.append(semantic_matching_share(images[own], texts[own], images, texts, scale, (targets[0][own], targets[1][own])))
        hard.append(symmetric_info_nce(images[own], texts[own], images, texts, scale, first=first))
    torch.testing.assert_close(sum(soft) / 3, semantic_matching_loss(images, texts, scale, targets))
    torch.testing.assert_close(sum(hard) / 3, info_nce(images, texts, scale))


def test_language_likelihood_is_that_of_transformers() -> None:
    """The same weights under GPT2LMHeadModel, whose labels are shifted by one and whose padding is -100."""
    from transformers import GPT2LMHeadModel

    torch.manual_seed(0)
    model = LanguageModel(build_config("vit-tiny", "gpt-tiny", vocabulary=40, context_length=12).text).eval()
    theirs = GPT2LMHeadModel(model.text.network.config).eval()
    theirs.transformer.load_state_dict(model.text.network.state_dict())
    theirs.tie_weights()
    tokens = torch.randint(0, 40, (3, 12))
    mask = (torch.arange(12)[None] < torch.tensor([12, 5, 8])[:, None]).long()
    with torch.inference_mode():
        expected = theirs(input_ids=tokens, attention_mask=mask, labels=tokens.masked_fill(mask == 0, -100)).loss
        torch.testing.assert_close(model(tokens, mask), expected, rtol=1e-5, atol=1e-6)
