"""What every ensemble, view and policy must keep, whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.uncertainty import Chain, GreedyPolicySearch, mean_of, random_chains, spread_of, tta_predict

TASKS = st.sampled_from(["multilabel", "multiclass"])


def members(seed: int, n: int, task: str) -> np.ndarray:
    """Probabilities of every kind, 0 and 1 and members that agree among them."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 10 ** random.uniform(-3, 2), (n, 5, 3)) + random.normal(0, 2, (5, 3))
    p = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    if task == "multiclass":
        p = np.exp(z - z.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
    elif seed % 3 == 0:
        p = np.round(p)
    return p


@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), task=TASKS)
@settings(max_examples=60, deadline=None)
def test_spreads_lie_in_their_ranges(seed: int, n: int, task: str) -> None:
    spread = spread_of(members(seed, n, task), task=task)
    choices = 3 if task == "multiclass" else 2
    assert (spread.mutual_information >= 0).all()
    assert (spread.mutual_information <= np.log(min(n, choices)) + 1e-12).all()
    np.testing.assert_allclose(
        spread.predictive_entropy, spread.expected_entropy + spread.mutual_information, rtol=1e-9, atol=1e-12
    )
    assert (spread.predictive_entropy <= np.log(choices) + 1e-12).all()
    assert ((spread.variation_ratio >= 0) & (spread.variation_ratio <= 1 - 1 / choices + 1e-12)).all()
    assert ((spread.pairwise_disagreement >= -1e-15) & (spread.pairwise_disagreement <= 1)).all()
    assert (spread.std_of_probabilities <= 0.5 + 1e-12).all()


@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), copies=st.integers(2, 4), task=TASKS)
@settings(max_examples=40, deadline=None)
def test_order_of_members_and_copies_of_all_change_nothing(seed: int, n: int, copies: int, task: str) -> None:
    p = members(seed, n, task)
    shuffled = np.random.default_rng(seed).permutation(p)
    plain = spread_of(p, task=task)
    for name, value in spread_of(shuffled, task=task).measures().items():
        np.testing.assert_allclose(value, plain.measures()[name], rtol=1e-9, atol=1e-13)
    copied = spread_of(np.concatenate([p] * copies), task=task).measures()
    agreeing_pairs = copied.pop("pairwise_disagreement")  # the one that sees copies: they add pairs that agree
    for name, value in copied.items():
        np.testing.assert_allclose(value, plain.measures()[name], rtol=1e-9, atol=1e-13)
    total = n * copies
    expected = plain.pairwise_disagreement * n * (n - 1) * copies**2 / (total * (total - 1))
    np.testing.assert_allclose(agreeing_pairs, expected, atol=1e-12)
    logits = np.log(np.clip(p, 1e-9, 1)) - (np.log(np.clip(1 - p, 1e-9, 1)) if task == "multilabel" else 0)
    for of in ("logits", "probabilities"):
        mean = mean_of(logits, of, task=task)
        np.testing.assert_allclose(mean_of(np.concatenate([logits] * copies), of, task=task), mean, rtol=1e-9, atol=1e-9)
        assert (mean >= logits.min(axis=0) - 1e-9).all() or (of, task) == ("probabilities", "multiclass")
        assert (mean <= logits.max(axis=0) + 1e-9).all()


@given(seed=st.integers(0, 10_000), space=st.sampled_from([2, 3]), sided=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_voxelwise_model_of_a_flat_image_is_not_changed_by_views(seed: int, space: int, sided: bool) -> None:
    # A constant image has no edge to lose: what is seen of any view must be that constant, and identity is always seen.
    image = np.full((11, 9, 10)[:space], 0.3)
    pool = random_chains(4, space=space, sided=sided, seed=seed)
    views = [Chain(tuple(step for step in chain.steps if step.dimensions)) for chain in pool[1:]]
    answer = tta_predict(lambda x: x, image, [Chain(), *views], task="segmentation", space=space, allow_laterality_unsafe=True)
    np.testing.assert_allclose(answer.mean, image, rtol=1e-12)
    assert answer.n_seen.min() >= 1
    np.testing.assert_allclose(answer.std, 0, atol=1e-12)


@given(seed=st.integers(0, 10_000), task=st.sampled_from(["multiclass", "multilabel", "regression"]))
@settings(max_examples=25, deadline=None)
def test_a_policy_does_not_know_the_order_of_the_cases_and_doubling_them_changes_nothing(seed: int, task: str) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(0, 2, (4, 30, 3) if task != "regression" else (4, 30))
    labels = {
        "multiclass": random.integers(-1, 3, 30),
        "multilabel": np.where(random.random((30, 3)) < 0.2, np.nan, random.integers(0, 2, (30, 3))),
        "regression": random.normal(0, 2, 30),
    }[task]
    plain = GreedyPolicySearch(task, length=4).fit(z, labels)
    order = random.permutation(30)
    for predictions, truth in ((z[:, order], labels[order]), (np.concatenate([z, z], axis=1), np.concatenate([labels, labels]))):
        other = GreedyPolicySearch(task, length=4).fit(predictions, truth)
        np.testing.assert_allclose(other.objectives, plain.objectives, rtol=1e-11)
        assert other.policy == plain.policy
    first = GreedyPolicySearch(task, length=1).fit(z, labels)
    assert first.objectives[0] == pytest.approx(plain.objectives[0])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_exponent_found_is_the_best(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, 40)
    z = random.normal(0, 10 ** random.uniform(-2, 2), (1, 40, 3)) + random.uniform(-1, 3) * np.eye(3)[truth]
    found = GreedyPolicySearch(length=1).fit(z, truth)
    logs = z[0] - z[0].max(axis=-1, keepdims=True)

    def objective(b: float) -> float:
        scaled = b * logs
        return float((scaled[np.arange(40), truth] - np.log(np.exp(scaled).sum(axis=-1))).mean())

    # Softmax of very large logits underflows to the smallest float: the same to 1e-6 only where no logit is that far.
    best = max(objective(b) for b in np.geomspace(1e-3, 1e3, 400))
    if np.abs(logs).max() < 600:
        assert found.objectives[0] >= best - 1e-9
        assert found.objectives[0] == pytest.approx(objective(found.scale), abs=1e-9)
