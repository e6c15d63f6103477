from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import EmptyInput, ShapeMismatch, ValueOutOfRange
from vesalius.uncertainty import (
    expected_entropy,
    mean_of,
    mutual_information,
    pairwise_disagreement,
    predictive_entropy,
    spread_of,
    std_of_probabilities,
    variation_ratio,
)

SPREADS = (
    std_of_probabilities,
    predictive_entropy,
    expected_entropy,
    mutual_information,
    variation_ratio,
    pairwise_disagreement,
)


def test_certain_members_that_contradict_each_other() -> None:
    p = np.array([[0.0], [1.0]])
    assert mutual_information(p)[0] == pytest.approx(np.log(2))
    assert expected_entropy(p)[0] == 0
    assert std_of_probabilities(p)[0] == 0.5
    assert variation_ratio(p)[0] == 0.5
    assert pairwise_disagreement(p)[0] == 1


def test_members_that_share_a_doubt() -> None:
    p = np.full((3, 1), 0.5)
    assert predictive_entropy(p)[0] == expected_entropy(p)[0] == pytest.approx(np.log(2))
    assert mutual_information(p)[0] == std_of_probabilities(p)[0] == 0


@pytest.mark.parametrize("spread", [std_of_probabilities, mutual_information, variation_ratio, pairwise_disagreement])
def test_one_member_has_no_spread(spread: object) -> None:
    assert spread(np.array([[0.2, 0.7]])).tolist() == [0, 0]
    assert not spread(np.array([[[0.2, 0.5, 0.3]]]), task="multiclass").any()


def test_classes_of_which_some_are_impossible() -> None:
    p = np.array([[[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]])
    assert np.isfinite([spread_of(p, task="multiclass").measures()[name] for name in spread_of(p).measures()]).all()
    # H(3/4, 1/4) - H(1/2, 1/2) / 2
    total = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert mutual_information(p, task="multiclass")[0] == pytest.approx(total - np.log(2) / 2)


def test_voxels_are_findings_of_another_shape() -> None:
    p = np.random.default_rng(0).random((4, 2, 3, 5, 6))
    for spread in SPREADS:
        assert spread(p).shape == (2, 3, 5, 6)


def test_spread_of_has_every_measure_and_the_favoured_class() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
    spread = spread_of(p, task="multiclass")
    assert {array.shape for array in spread.measures().values()} == {(6,)}
    favoured = p.mean(axis=0).argmax(axis=-1)
    np.testing.assert_allclose(spread.std_of_probabilities, p.std(axis=0)[np.arange(6), favoured])
    assert set(spread.measures()) == {spread.__name__ for spread in SPREADS}


def test_extreme_logits_lose_nothing_in_a_mean_of_probabilities() -> None:
    # 1 - mean p is 1e-300 or so: a probability would be 1, its logit infinite.
    mean = mean_of(np.array([[700.0], [690.0]]), "probabilities")[0]
    assert mean == pytest.approx(690 + np.log(2), abs=1e-4)
    assert mean_of(np.array([[-700.0], [-690.0]]), "probabilities")[0] == pytest.approx(-mean)


def test_a_class_vote_goes_to_the_first_of_equals() -> None:
    p = np.array([[[0.5, 0.5]], [[0.4, 0.6]]])
    assert variation_ratio(p, task="multiclass")[0] == 0.5


@pytest.mark.parametrize("spread", SPREADS)
def test_refusals(spread: object) -> None:
    with pytest.raises(ValueOutOfRange, match="not logits"):
        spread(np.array([[1.3], [0.2]]))
    with pytest.raises(ValueOutOfRange, match="not logits"):
        spread(np.array([[np.nan], [0.2]]))
    with pytest.raises(ValueOutOfRange, match="softmax"):
        spread(np.array([[[0.5, 0.1]]]), task="multiclass")
    with pytest.raises(EmptyInput, match="first axis"):
        spread(np.zeros((0, 3)))
    with pytest.raises(ShapeMismatch, match="last axis"):
        spread(np.ones((3, 4, 1)), task="multiclass")
    with pytest.raises(ValueOutOfRange, match="multilabel, multiclass"):
        spread(np.ones((3, 4)), task="binary")


def test_mean_refusals() -> None:
    with pytest.raises(ValueOutOfRange, match="logits, probabilities"):
        mean_of(np.zeros((2, 3)), "votes")
    with pytest.raises(ValueOutOfRange, match="not finite"):
        mean_of(np.array([[np.inf], [0.0]]))
