"""Prompt sets: the rule of the draw, the seed, and the spread over them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vesalius.errors import PromptsError
from vesalius.zeroshot.prompt_file import load_prompts
from vesalius.zeroshot.prompt_sets import Spread, draw_prompt_sets


def test_one_name_a_class_and_templates_without_replacement() -> None:
    pool = load_prompts("renal")
    for one in draw_prompt_sets(pool, n_sets=200, seed=3):
        assert one.findings == pool.findings
        assert 1 <= len(one.templates) <= len(pool.templates)
        assert len(set(one.templates)) == len(one.templates)
        assert set(one.templates) <= set(pool.templates)
        for drawn, whole in zip(one.prompts, pool.prompts, strict=True):
            assert len(drawn.synonyms) == 1
            assert drawn.synonyms[0] in whole.synonyms


def test_the_number_of_templates_is_uniform_and_every_name_and_template_is_drawn_alike() -> None:
    pool = load_prompts("renal")
    sets = draw_prompt_sets(pool, n_sets=4000, seed=0)
    total = len(pool.templates)
    sizes = Counter(len(one.templates) for one in sets)
    names = Counter(one.prompts[0].synonyms[0] for one in sets)
    templates = Counter(template for one in sets for template in one.templates)
    for counts, expected in ((sizes, 4000 / total), (names, 4000 / 4), (templates, 4000 * (total + 1) / 2 / total)):
        assert len(counts) == (4 if counts is names else total)
        deviation = np.array([count - expected for count in counts.values()]) / np.sqrt(expected)
        assert np.abs(deviation).max() < 4.5, "within chance"


def test_same_seed_same_sets() -> None:
    pool = load_prompts("chexpert")
    first, again, other = (draw_prompt_sets(pool, n_sets=5, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert draw_prompt_sets(pool, n_sets=3, seed=7) == first[:3], "more sets leave the earlier ones as they are"


def test_a_finding_of_whole_sentences_has_one_for_and_one_against() -> None:
    for one in draw_prompt_sets(load_prompts("nih"), n_sets=20, seed=1):
        texts = one.texts()["No Finding"]
        assert (len(texts.positive), len(texts.negative)) == (1, 1)
    with pytest.raises(PromptsError, match="at least 1"):
        draw_prompt_sets(load_prompts("nih"), n_sets=0)


def test_spread_over_the_sets() -> None:
    scores = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [10.0, 5.0]])
    spread = Spread.of(scores)
    assert spread.median.tolist() == [2.0, 5.0]
    assert spread.to_json(["a", "b"])["a"] == {
        "minimum": 0.0,
        "lower_quartile": 1.0,
        "median": 2.0,
        "upper_quartile": 3.0,
        "maximum": 10.0,
    }
