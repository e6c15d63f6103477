"""Heads: what a vector is made of, what does not change it, and the scores under their names."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.image_text import make_config, make_model, make_tokenizer
from vesalius.errors import PromptsError, ShapeMismatch, TextTooLong
from vesalius.models.tokenizer import Encoded
from vesalius.zeroshot.heads import (
    Cosines,
    TextHead,
    TextTable,
    build_head,
    class_score,
    contrast,
    embed_texts,
    paired_score,
    standardised_score,
    text_weights,
    texts_of,
)
from vesalius.zeroshot.prompts import PromptSet, prompts_for

TOKENIZER = make_tokenizer()
MODEL = make_model(make_config(TOKENIZER))
TEXTS = ["no pleural effusion", "the heart is large", "nodule", "heart", "the lungs are clear"]


def encode(texts: object) -> Encoded:
    return TOKENIZER.encode(texts, 16)  # type: ignore[arg-type]


def test_a_sentence_is_embedded_once_and_alone_as_in_company() -> None:
    calls: list[int] = []

    def counting(texts: object) -> Encoded:
        calls.append(len(texts))  # type: ignore[arg-type]
        return encode(texts)

    table = embed_texts(MODEL, counting, [*TEXTS, *TEXTS])
    assert calls == [len(TEXTS)]
    for text in TEXTS:
        alone = embed_texts(MODEL, encode, [text])
        np.testing.assert_allclose(alone.of([text]), table.of([text]), atol=1e-6)
        assert np.linalg.norm(table.of([text])) == pytest.approx(1, abs=1e-6)


def test_leaving_out_the_padding_changes_nothing() -> None:
    import torch

    tokens, mask = encode(TEXTS)
    with torch.inference_mode():
        padded = MODEL.embed_texts(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(embed_texts(MODEL, encode, TEXTS).of(TEXTS), padded, atol=1e-5)


def test_mean_of_embeddings_and_mean_of_logits() -> None:
    a, b, c = np.float32([1, 0, 0]), np.float32([0, 1, 0]), np.float32([0, 0, 1])
    table = TextTable({"a": a, "b": b, "no a": c, "no b": c})
    asked = PromptSet.of_classes({"x": ["a", "b"], "y": ["no a"]})
    joined = build_head(table, asked, average="embeddings").positive[0]
    np.testing.assert_allclose(joined, [math.sqrt(0.5), math.sqrt(0.5), 0], atol=1e-6)
    image = np.array([[0.6, 0.8, 0.0]])
    logits = contrast(image, build_head(table, asked, average="logits"))
    np.testing.assert_allclose(logits, [[(0.6 + 0.8) / 2, 0]], atol=1e-7, err_msg="the mean of the cosines")
    with pytest.raises(PromptsError, match="embeddings or logits"):
        build_head(table, asked, average="prompts")  # type: ignore[arg-type]


def test_sentences_that_cancel_out_are_refused() -> None:
    a = np.float32([1, 0, 0])
    table = TextTable({"a": a, "b": -a, "c": a})
    with pytest.raises(PromptsError, match="cancel out"):
        build_head(table, PromptSet.of_classes({"x": ["a", "b"], "y": ["c"]}))


def test_the_contrast_is_linear_in_the_image_and_turns_its_sign_with_the_words() -> None:
    asked = prompts_for(["pleural effusion", "no pleural effusion"])
    head = text_weights(MODEL, encode, asked)
    images = np.random.default_rng(0).normal(size=(4, 24))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    scores = contrast(images, head)
    np.testing.assert_allclose(scores, images @ head.difference.T.astype(float), atol=1e-6)
    np.testing.assert_allclose(scores[:, 1], -scores[:, 0], atol=1e-6, err_msg="asked for its absence, the opposite")


def test_a_sentence_that_was_not_embedded_is_said() -> None:
    with pytest.raises(PromptsError, match="not embedded"):
        build_head(TextTable({}), prompts_for(["heart"]))
    with pytest.raises(TextTooLong):
        text_weights(MODEL, encode, prompts_for(["heart " * 20]))
    assert texts_of([prompts_for(["a", "b"]), prompts_for(["b"])]) == ("a", "no a", "b", "no b")


def test_shapes_that_do_not_fit_are_refused() -> None:
    head = text_weights(MODEL, encode, prompts_for(["heart"]))
    with pytest.raises(ShapeMismatch, match="one checkpoint"):
        contrast(np.zeros((2, 7)), head)
    with pytest.raises(ShapeMismatch):
        TextHead("pair", ("a",), "embeddings", np.zeros((1, 3), dtype=np.float32))


def test_scores_under_their_names() -> None:
    positive, negative = np.array([[0.3, -0.1, 0.2]]), np.array([[0.1, 0.1, 0.2]])
    pair = Cosines(positive, negative)
    expected = 1 / (1 + np.exp(-(positive - negative)))
    np.testing.assert_allclose(paired_score([pair]), expected)
    other = Cosines(negative, positive)
    np.testing.assert_allclose(paired_score([pair, other]), np.full((1, 3), 0.5), err_msg="mean after the softmax")
    shares = class_score([Cosines(positive, None)], [10.0])
    np.testing.assert_allclose(shares, np.exp(10 * positive) / np.exp(10 * positive).sum())
    standard = (positive - positive.mean()) / positive.std()
    np.testing.assert_allclose(standardised_score([pair]), 1 / (1 + np.exp(-standard)))
    assert np.isnan(standardised_score([Cosines(positive[:, :1], None)])).all(), "one finding has no spread"
    with pytest.raises(PromptsError, match="class_score"):
        paired_score([Cosines(positive, None)])


def test_the_paired_score_stays_near_a_half() -> None:
    """cos in [-1, 1] without the learned scale: never below 0.119 or above 0.881."""
    worst = paired_score([Cosines(np.array([[-1.0, 1.0]]), np.array([[1.0, -1.0]]))])
    np.testing.assert_allclose(worst, [[0.11920292, 0.88079708]], atol=1e-8)
