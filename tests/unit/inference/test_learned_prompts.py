"""Learned prompts in the place of networks: ensembles, batches, films that come with their own prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.image_text import CONTRACT, make_config, make_model, make_tokenizer
from vesalius.errors import ShapeMismatch
from vesalius.inference.learned_prompts import FILMS_AT_ONCE, LearnedPromptInference
from vesalius.models.tokenizer import Encoded
from vesalius.zeroshot.learned_prompts import PromptGenerator, design_for, freeze, prompt_generator
from vesalius.zeroshot.prompts import PromptSet, prompts_for

ASKED = prompts_for(("effusion", "nodule"))


def encode(texts: list[str] | tuple[str, ...]) -> Encoded:
    return make_tokenizer().encode(list(texts), 16)


def generator(seed: int, hidden: int = 4, findings: tuple[str, ...] = ("effusion", "nodule")) -> PromptGenerator:
    """One that has learned something: every parameter is moved."""
    model = freeze(make_model(make_config(make_tokenizer()), seed))
    made = prompt_generator(design_for(prompts_for(findings), hidden=hidden), model, encode, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def inference(*seeds: int, hidden: int = 4) -> LearnedPromptInference:
    models = [make_model(make_config(make_tokenizer()), seed) for seed in seeds]
    return LearnedPromptInference(models, CONTRACT, [generator(seed, hidden) for seed in seeds], device="cpu")


def films(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, 64, 64)).astype(np.float32)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    given = films(3)
    both = inference(0, 1).run_tensor(given, evidence=True)
    single = [inference(seed).run_tensor(given, evidence=True) for seed in (0, 1)]
    np.testing.assert_allclose(both.logits, np.mean([one.logits for one in single], axis=0), atol=1e-6)
    np.testing.assert_allclose(both.features, np.concatenate([one.features for one in single], axis=1), atol=1e-5)
    assert both.evidence is not None
    np.testing.assert_allclose(both.evidence, np.mean([one.evidence for one in single], axis=0), atol=1e-4)  # type: ignore[type-var]


@pytest.mark.parametrize("hidden", [4, 0])
def test_a_films_answer_does_not_hang_on_its_company(hidden: int) -> None:
    given = films(FILMS_AT_ONCE + 3)
    asked = inference(0, hidden=hidden)
    together = asked.run_tensor(given).logits
    alone = np.concatenate([asked.run_tensor(given[case : case + 1]).logits for case in (0, FILMS_AT_ONCE, FILMS_AT_ONCE + 2)])
    np.testing.assert_allclose(together[[0, FILMS_AT_ONCE, FILMS_AT_ONCE + 2]], alone, atol=1e-6)


def test_prompts_that_do_not_adapt_are_embedded_once() -> None:
    asked = inference(0, hidden=0)
    calls: list[int] = []
    asked.models[0].text.register_forward_hook(lambda *_: calls.append(1))
    asked.run_tensor(films(2))
    assert not calls, "the text tower is not asked again"
    adapting = inference(0)
    adapting.models[0].text.register_forward_hook(lambda *_: calls.append(1))
    adapting.run_tensor(films(2))
    assert calls


@pytest.mark.parametrize("hidden", [4, 0])
def test_evidence_of_classes_is_what_each_has_above_their_mean(hidden: int) -> None:
    """As of classes in words: else all classes are near to a patch, and a map is full of colour wherever one looks."""
    model = make_model(make_config(make_tokenizer()))
    asked = PromptSet.of_classes({"a": ["effusion"], "b": ["nodule"], "c": ["heart"]})
    made = prompt_generator(design_for(asked, hidden=hidden), freeze(model), encode)
    evidence = LearnedPromptInference([model], CONTRACT, [made], device="cpu").run_tensor(films(2), evidence=True).evidence
    assert evidence is not None
    np.testing.assert_allclose(evidence.sum(axis=1), 0, atol=1e-4)
    assert np.abs(evidence).max() > 1e-3


def test_what_does_not_belong_together_is_refused() -> None:
    models = [make_model(make_config(make_tokenizer()), seed) for seed in (0, 1)]
    with pytest.raises(ShapeMismatch, match="expected one each"):
        LearnedPromptInference(models, CONTRACT, [generator(0)], device="cpu")
    with pytest.raises(ShapeMismatch, match="same findings"):
        LearnedPromptInference(models, CONTRACT, [generator(0), generator(1, findings=("heart",))], device="cpu")
