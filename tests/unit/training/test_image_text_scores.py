"""Retrieval and zero-shot figures by hand."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch

from vesalius.losses.contrastive import info_nce
from vesalius.training.image_text_scores import contrast_of_pairs, prompt_pair, retrieval_figures, zero_shot_figures


def test_prompts_for_and_against() -> None:
    assert prompt_pair("Pleural Effusion") == ("pleural effusion", "no pleural effusion")
    assert prompt_pair("No Finding") == ("no finding", "finding"), "not `no no finding`"
    assert prompt_pair("Pleural_Thickening") == ("pleural thickening", "no pleural thickening"), "no report has an underscore"
    assert prompt_pair("Nodule") == ("nodule", "no nodule"), "a name that begins with the letters is no denial"


def test_the_contrast_is_for_less_against() -> None:
    images = np.array([[1.0, 0.0], [0.6, 0.8]])
    prompts = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.6, 0.8]])
    np.testing.assert_allclose(contrast_of_pairs(images, prompts), [[1 - 0, 0 - 0.6], [0.6 - 0.8, 0.8 - 1.0]])


def test_zero_shot_figures_leave_out_what_has_one_side() -> None:
    truth = np.array([[1, 1], [0, 1], [np.nan, 1], [1, np.nan]], dtype=float)
    figures = zero_shot_figures(truth, np.array([[0.3, 0.1], [0.5, 0.2], [0.0, 0.3], [0.9, 0.4]]), ["a", "b"])
    assert figures["zero_shot_macro_auroc"] == figures["zero_shot_auroc"]["a"] == 0.5
    assert math.isnan(figures["zero_shot_auroc"]["b"])


def test_retrieval_by_hand() -> None:
    images = np.eye(3)
    texts = np.array([[0.8, 0.6, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    figures = retrieval_figures(images, texts, 2.0, np.arange(3))
    # film 0 finds text 1 before its own; film 1 finds text 0; film 2 its own
    assert figures["recall_at_1"] == pytest.approx(1 / 3)
    assert figures["recall_at_5"] == 1.0
    # text 0 finds film 0, its own; text 1 finds film 0; text 2 its own
    assert figures["recall_at_1_of_films"] == pytest.approx(2 / 3)


def test_a_report_of_the_same_words_is_a_right_answer() -> None:
    images, texts = np.eye(2), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert retrieval_figures(images, texts, 1.0, np.zeros(2, dtype=np.int64))["recall_at_1"] == 1.0
    assert retrieval_figures(images, texts, 1.0, np.arange(2))["recall_at_1"] == 0.0, "of equals the wrong one comes first"


def test_loss_is_the_contrast_of_all_pairs_and_information_its_rest() -> None:
    random = np.random.default_rng(0)
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in random.normal(size=(2, 20, 6)))
    figures = retrieval_figures(images, texts, 9.0, np.arange(20))
    expected = float(info_nce(torch.from_numpy(images), torch.from_numpy(texts), torch.tensor(9.0)))
    assert figures["validation_loss"] == pytest.approx(expected, rel=1e-5)
    assert figures["information_nats"] == pytest.approx(math.log(20) - expected, rel=1e-5)
    perfect = retrieval_figures(np.eye(20), np.eye(20), 100.0, np.arange(20))
    assert perfect["information_nats"] == pytest.approx(math.log(20), abs=1e-9)


def test_many_pairs_are_compared_a_few_at_a_time_and_come_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in random.normal(size=(2, 50, 6)))
    words = random.integers(0, 40, 50)
    at_once = retrieval_figures(images, texts, 9.0, words)
    monkeypatch.setattr("vesalius.training.image_text_scores.AT_ONCE", 7)
    assert retrieval_figures(images, texts, 9.0, words) == pytest.approx(at_once, rel=1e-12)


def test_memory_does_not_grow_with_the_square_of_the_pairs() -> None:
    """Twenty thousand validation films are a tenth of MIMIC: one table of all of them with all is 3.2 GB."""
    random = np.random.default_rng(0)
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in random.normal(size=(2, 3000, 4)))
    tracemalloc.start()
    retrieval_figures(images, texts, 9.0, np.arange(3000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8 * 3000**2 * 8, "less than one table"
