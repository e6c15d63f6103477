"""The generator of prompts: what it says before training, what learns, what is cached, and how large it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.image_text import make_config, make_model, make_tokenizer
from vesalius.errors import BundleError, TextTooLong, ValueOutOfRange
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import TextEncoder, build_config
from vesalius.models.image_tower import ImageTower
from vesalius.models.tokenizer import Encoded, Tokenizer
from vesalius.zeroshot.learned_prompts import (
    Layout,
    PromptDesign,
    PromptGenerator,
    contrast,
    design_for,
    embed_prompts,
    freeze,
    prompt_generator,
    restore_generator,
)
from vesalius.zeroshot.prompts import PromptSet, prompts_for

FINDINGS = prompts_for(("pleural effusion", "pneumothorax"))


def encode(texts: list[str] | tuple[str, ...]) -> Encoded:
    return make_tokenizer().encode(list(texts), 16)


def towers() -> ImageTextModel:
    return freeze(make_model(make_config(make_tokenizer())))


def images(model: ImageTextModel, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        seen = ImageTower.of(model)(torch.randn(count, 3, 64, 64))
    return seen.embeddings, seen.features


@pytest.mark.parametrize("kind", ["clip", "bert", "gpt"])
@pytest.mark.parametrize("hidden", [0, 8])
def test_before_training_it_says_the_hand_written_prompt(kind: str, hidden: int) -> None:
    """Context words and name, through the generator, are the sentence itself; whatever tokenizer and tower."""
    texts = ["the lungs show no pleural effusion", "the lungs show pneumothorax"]
    tokenizer = Tokenizer.train(texts * 3, kind=kind, vocabulary=600)
    text: TextEncoder = {"clip": "clip-text", "bert": "bert-tiny", "gpt": "gpt-tiny"}[kind]  # type: ignore[assignment]
    config = build_config("vit-tiny", text, size_px=32, vocabulary=tokenizer.vocabulary, context_length=30, embedding_dim=24)
    torch.manual_seed(0)
    model = freeze(ImageTextModel(config))
    design = design_for(FINDINGS, context="the lungs show", hidden=hidden)
    generator = prompt_generator(design, model, lambda texts: tokenizer.encode(texts, 30))
    sentences = [
        "the lungs show pleural effusion",
        "the lungs show pneumothorax",
        "the lungs show no pleural effusion",
        "the lungs show no pneumothorax",
    ]
    tokens, mask = (torch.from_numpy(array) for array in tokenizer.encode(sentences, 30))
    with torch.no_grad():
        said = embed_prompts(model, generator(torch.randn(2, 24), torch.randn(2, 64)))
        assert said.shape == (2 if hidden else 1, 4, 24)
        for case in said:
            torch.testing.assert_close(case, model.embed_texts(tokens, mask), rtol=0, atol=2e-6)


def test_every_part_stands_where_it_belongs() -> None:
    """The sequence, written out: start, context + meta(image), name + class vector, end, padding."""
    model = towers()
    design = design_for(FINDINGS, context_tokens=2, hidden=5)
    generator = prompt_generator(design, model, encode, seed=4)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.normal_()
    seen, features = images(model)
    prompts = generator(seen, features)
    assert generator.meta is not None
    assert generator.classes is not None
    first, _, last = generator.meta
    shift = torch.relu(seen @ first.weight.T + first.bias) @ last.weight.T + last.bias
    tokens, mask = (torch.from_numpy(array) for array in encode([*design.words]))
    rows = model.embed_tokens(tokens)
    for case in range(3):
        for number, words in enumerate(design.words):
            length = int(mask[number].sum())
            name = rows[number, 1 : length - 1] + generator.classes[number]
            context = generator.start + generator.context + shift[case]
            whole = torch.cat([rows[number, :1], context, name, rows[number, length - 1 : length]])
            got = prompts.embeddings[case, number]
            torch.testing.assert_close(got[: length + 2], whole, msg=words)
            assert int(prompts.mask[number].sum()) == length + 2
            padding = rows[number, length : length + len(got) - length - 2]
            torch.testing.assert_close(got[length + 2 :], padding)


def test_the_gradient_reaches_the_generator_and_nothing_else() -> None:
    model = towers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = prompt_generator(design_for(FINDINGS, hidden=4), model, encode)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=0.1)
    seen, features = images(model)
    for _ in range(3):  # the meta-network's first layer hears of it once its last has left 0
        optimizer.zero_grad()
        contrast("pair", seen, embed_prompts(model, generator(seen, features))).sum().backward()
        optimizer.step()
    missing = [name for name, value in generator.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    assert not missing, f"no gradient reaches {missing}"
    assert all(value.grad is None for value in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_prompt_adapts_to_the_image() -> None:
    model = towers()
    seen, features = images(model)
    for reads in ("embedding", "features"):
        generator = prompt_generator(design_for(FINDINGS, hidden=4, reads=reads), model, encode)
        assert generator.meta is not None
        with torch.no_grad():
            torch.nn.init.normal_(generator.meta[2].weight)
            texts = embed_prompts(model, generator(seen, features))
        assert float((texts[0] - texts[1]).abs().max()) > 1e-3, reads


def test_contrasts() -> None:
    seen = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    texts = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert torch.allclose(contrast("pair", seen, texts), torch.tensor([[1.0], [-0.2]]))
    assert torch.allclose(contrast("classes", seen, texts), torch.tensor([[1.0, 0.0], [0.6, 0.8]]))


def test_it_is_restored_without_towers_or_tokenizer() -> None:
    model = towers()
    generator = prompt_generator(design_for(FINDINGS, hidden=4, context_tokens=3), model, encode, seed=1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.normal_()
    design = PromptDesign.from_json(generator.design.to_json())
    again = restore_generator(design, generator.state_dict())
    seen, features = images(model)
    torch.testing.assert_close(again(seen, features).embeddings, generator(seen, features).embeddings, rtol=0, atol=0)
    with pytest.raises(BundleError, match="train them again"):
        restore_generator(design_for(prompts_for("ABC"), hidden=4), generator.state_dict())


def count(width: int, seen: int, hidden: int, vectors: int) -> int:
    """Learned numbers of a generator without biases and class vectors, over words of that width."""
    design = design_for(prompts_for("ab"), context_tokens=vectors, hidden=hidden, bias=False, class_vectors=False)
    layout = Layout(torch.zeros(vectors, width), torch.zeros(4, 3, width), torch.zeros(4, 3), torch.ones(4, 3 + vectors).long())
    return sum(parameter.numel() for parameter in PromptGenerator(design, layout, seen).parameters())


def test_the_published_number_of_parameters_has_a_split() -> None:
    """86,016 = 16 vectors and a bottleneck of 48 at width 768: a fit, not a fact; docs/learned-prompts.md has the others."""
    assert count(768, 768, 48, 16) == 86_016
    assert count(512, 512, 64, 40) == 86_016
    assert count(512, 768, 64, 8) == 86_016
    assert count(512, 512, 32, 4) != 86_016, "CoCoOp's own sizes over CLIP are another number"


def test_words_are_those_of_the_prompt_set() -> None:
    """Of each finding the first; "no No Finding" is not asked."""
    words = design_for(prompts_for(("No Finding", "edema"))).words
    assert words == ("normal chest radiograph", "edema", "abnormal chest radiograph", "no edema")
    classes = PromptSet.of_classes({"A": ("adenocarcinoma", "gland"), "S": ("squamous cell carcinoma",)})
    design = design_for(classes)
    assert (design.kind, design.findings, design.words) == ("classes", ("A", "S"), ("adenocarcinoma", "squamous cell carcinoma"))


def test_prompts_of_different_lengths_are_read_without_padding() -> None:
    """In a tower whose mean runs over padding a short prompt is what it is alone."""
    config = make_config(make_tokenizer())
    torch.manual_seed(0)
    model = freeze(ImageTextModel(replace(config, text=replace(config.text, pooling="mean-layers-1-2-last"))))
    generator = prompt_generator(design_for(FINDINGS, hidden=0), model, encode)
    with torch.no_grad():
        prompts = generator(torch.zeros(1, 24), torch.zeros(1, 64))
        together = embed_prompts(model, prompts)[0]
        for row, vector in enumerate(together):
            length = int(prompts.mask[row].sum())
            alone = model.embed_texts(prompts.embeddings[0, row : row + 1, :length], torch.ones(1, length, dtype=torch.long))[0]
            torch.testing.assert_close(alone, vector, rtol=0, atol=1e-6)
    assert len(set(prompts.mask.sum(dim=1).tolist())) > 1


def test_what_cannot_be_is_refused() -> None:
    model = towers()
    with pytest.raises(TextTooLong, match="fewer context tokens"):
        prompt_generator(design_for(FINDINGS, context_tokens=14), model, encode)
    with pytest.raises(ValueOutOfRange, match="at least 2"):
        PromptDesign("classes", ("edema",), ("edema",))
    with pytest.raises(ValueOutOfRange, match="something to learn"):
        design_for(FINDINGS, context_tokens=0, class_vectors=False)
    with pytest.raises(BundleError, match="another version"):
        PromptDesign.from_json({"kind": "pair", "colour": "red"})
