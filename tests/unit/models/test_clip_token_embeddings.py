"""A text tower answers to embeddings of its tokens as to the tokens: learned prompts go the very way that words go."""

from __future__ import annotations

import pytest
import torch

from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import TextEncoder, build_config

WIDTH = {"clip-text": 512, "bert-tiny": 64, "gpt-tiny": 64}


def sentences(text: TextEncoder) -> tuple[ImageTextModel, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    config = build_config("vit-tiny", text, size_px=32, vocabulary=90, context_length=10, embedding_dim=24)
    tokens = torch.randint(1, 80, (4, 10))
    mask = torch.ones_like(tokens)
    for row, length in enumerate((10, 3, 7, 5)):
        mask[row, length:] = 0
        tokens[row, length:] = 0
        tokens[row, length - 1] = 89
    return ImageTextModel(config).eval(), tokens, mask


@pytest.mark.parametrize("text", WIDTH)
def test_embeddings_of_tokens_answer_as_the_tokens(text: TextEncoder) -> None:
    model, tokens, mask = sentences(text)
    with torch.no_grad():
        embeddings = model.embed_tokens(tokens)
        assert embeddings.shape == (4, 10, WIDTH[text])
        torch.testing.assert_close(model.embed_texts(embeddings, mask), model.embed_texts(tokens, mask), rtol=0, atol=0)


@pytest.mark.parametrize("text", ["clip-text", "gpt-tiny"])
def test_a_shorter_sequence_is_the_same_sentence(text: TextEncoder) -> None:
    """A causal tower's answer does not depend on what is padded behind the end, in embeddings as in ids."""
    model, tokens, mask = sentences(text)
    with torch.no_grad():
        whole = model.embed_texts(model.embed_tokens(tokens[1:2]), mask[1:2])
        cut = model.embed_texts(model.embed_tokens(tokens[1:2, :3]), mask[1:2, :3])
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", WIDTH)
def test_the_tower_equals_transformers_own_forward(text: TextEncoder) -> None:
    """Transformers takes ids; our path through embeddings gives its hidden states."""
    model, tokens, mask = sentences(text)
    network = model.text.network
    with torch.no_grad():
        given = {} if text == "clip-text" else {"attention_mask": mask}
        hidden = network(input_ids=tokens, **given).last_hidden_state
        spoken = hidden[:, 0] if text == "bert-tiny" else hidden[torch.arange(4), mask.sum(dim=1) - 1]
        torch.testing.assert_close(model.text(model.embed_tokens(tokens), mask), spoken, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", WIDTH)
def test_a_gradient_reaches_the_embeddings(text: TextEncoder) -> None:
    model, tokens, mask = sentences(text)
    model.requires_grad_(False)
    embeddings = model.embed_tokens(tokens).detach().requires_grad_()
    model.embed_texts(embeddings, mask)[0, 0].backward()
    assert embeddings.grad is not None
    assert float(embeddings.grad[0].abs().sum()) > 0
    assert float(embeddings.grad[1:].abs().sum()) == 0, "a sentence is moved by its own tokens only"
