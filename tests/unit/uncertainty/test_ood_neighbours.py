"""Nearest neighbours and virtual logits: exact, flat in memory, and honest about what they cannot do."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from vesalius.errors import NotEstimable, NotFitted, ShapeMismatch, ValueOutOfRange
from vesalius.metrics import auroc
from vesalius.uncertainty import Energy, KNearest, ViM, detector_from_state, ood_neighbours


def films(seed: int = 0, n: int = 200, dim: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with six wide directions, of which two are the logits, and labels; two films in three are normal."""
    random = np.random.default_rng(seed)
    labels = (random.random((n, 2)) < 0.2).astype(float)
    wide = np.where(np.arange(dim) < 6, 2.0, 0.2)
    features = random.normal(size=(n, dim)) * wide
    features[:, :2] += 4 * labels - 2
    return features, 2 * features[:, :2], labels


def test_kth_neighbour_by_hand() -> None:
    angles = np.deg2rad([0, 10, 30, 60])
    films_at = 5 * np.column_stack([np.cos(angles), np.sin(angles)])
    case = np.array([[3.0, 0.0]])  # length does not count
    for k, degrees in ((1, 0), (2, 10), (3, 30), (4, 60)):
        assert KNearest(k).fit(films_at).score(case)[0] == pytest.approx(2 * np.sin(np.deg2rad(degrees) / 2), abs=1e-15)
    assert KNearest(2, normalise=False).fit(films_at).score(case)[0] == pytest.approx(
        np.hypot(5 * np.cos(angles[1]) - 3, 5 * np.sin(angles[1]))
    )


def test_near_copies_are_told_apart_to_the_last_digit() -> None:
    """|x|^2 - 2 x'y + |y|^2 alone would answer 0 or 1e-8 for all of them."""
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 16))
    fitted = KNearest(1).fit(x)
    assert not fitted.score(x).any()
    for step in (1e-6, 1e-9, 1e-12):
        near = x + step * random.normal(size=x.shape)
        unit, films_at = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (near, x))
        expected = np.linalg.norm(unit - films_at, axis=1)
        assert np.allclose(fitted.score(near), expected, rtol=1e-3 if step < 1e-10 else 1e-6, atol=0)


def test_usual_k_is_the_root_of_the_number_of_films() -> None:
    x, _, _ = films(n=150)
    assert KNearest().fit(x).neighbour == 12
    assert np.array_equal(KNearest().fit(x).score(x), KNearest(12).fit(x).score(x))


def test_blocks_change_nothing_and_memory_stays_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, _ = films(n=300)
    expected = KNearest(7).fit(x).score(x)
    monkeypatch.setattr(ood_neighbours, "_PRODUCTS", 900)
    assert np.allclose(KNearest(7).fit(x).score(x), expected, rtol=1e-12)
    monkeypatch.undo()
    x, _, _ = films(n=6000, dim=8)
    fitted = KNearest(7).fit(x)
    tracemalloc.start()
    fitted.score(x)  # 36 million distances: 288 MB at once
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80_000_000


def test_two_clouds_are_home_and_the_gap_is_not() -> None:
    random = np.random.default_rng(0)
    middle = np.repeat([[10.0, 0, 0], [0, 10.0, 0]], 100, axis=0)
    clouds = middle + random.normal(0, 0.3, (200, 3))
    gap = np.full((50, 3), [5.0, 5.0, 0]) + random.normal(0, 0.3, (50, 3))
    fitted = KNearest(5).fit(clouds)
    assert fitted.score(gap).min() > fitted.score(clouds).max()


def test_what_has_no_direction_never_passes() -> None:
    x, _, _ = films()
    fitted = KNearest(3).fit(x)
    strange = x[:4].copy()
    strange[0], strange[1, 2], strange[2, 0] = 0, np.nan, -np.inf
    found = fitted.score(strange)
    assert (found[:3] == np.inf).all()
    assert np.isfinite(found[3])
    assert np.isfinite(fitted.score(1e-200 * x[:2])).all()
    assert np.allclose(fitted.score(1e200 * x[:2]), fitted.score(x[:2]))
    with pytest.raises(NotEstimable, match="no direction"):
        KNearest().fit(np.zeros((5, 3)))
    assert KNearest(normalise=False).fit(np.zeros((5, 3))).score(np.zeros((1, 3)))[0] == 0


def test_vim_sees_what_leaves_the_principal_space() -> None:
    x, z, labels = films(n=400)
    new, new_z, _ = films(1, n=400)
    off = new.copy()
    off[:, 6:] *= 3  # outside the six wide directions; the logits say nothing of it
    vim = ViM(6).fit(x, z, labels)
    foreign = np.r_[np.zeros(400), np.ones(400)]
    assert auroc(foreign, vim.score(np.concatenate([new, off]), np.concatenate([new_z, new_z]))) > 0.95
    energy = Energy(centred=True).fit(x, z, labels)
    assert auroc(foreign, energy.score(None, np.concatenate([new_z, new_z]))) == 0.5


def test_the_multi_label_vim_keeps_the_normal_films() -> None:
    x, z, labels = films(n=600)
    normal = (labels.sum(axis=1) == 0).astype(float)
    assert auroc(normal, ViM(6).fit(x, z, labels).score(x, z)) == pytest.approx(0.5, abs=0.1)


def test_the_softmax_formula_would_turn_vim_round_on_normal_films() -> None:
    """Of sigmoid logits the greatest is below 0 on most films: alpha < 0, and a large residual would be a sign of home."""
    x, z, labels = films(n=400)
    z = z - 3
    assert z.max(axis=1).mean() < 0
    with pytest.raises(NotEstimable, match="wrong sign"):
        ViM(6, form="softmax").fit(x, z)
    assert ViM(6).fit(x, z, labels).alpha > 0


def test_residual_and_evidence_weigh_the_same_at_home() -> None:
    x, z, labels = films()
    vim = ViM(6).fit(x, z, labels)
    assert vim.score(x, z).mean() == pytest.approx(0, abs=1e-9)


def test_usual_dimensions() -> None:
    for n, dim, expected in ((10_000, 2048, 1000), (10_000, 768, 512), (10_000, 128, 64), (60, 768, 30), (3, 2, 1)):
        assert ood_neighbours._usual_dim(n, dim) == expected


@pytest.mark.parametrize("make", [KNearest, lambda: KNearest(3, normalise=False), ViM, lambda: ViM(4)])
def test_state_is_exact(make: type) -> None:
    x, z, labels = films()
    fitted = make().fit(x, z, labels)
    again = detector_from_state(fitted.state(), json.loads(json.dumps(fitted.to_json())))
    assert np.array_equal(again.score(x, z), fitted.score(x, z))
    assert all(array.dtype == np.float64 for array in fitted.state().values())


def test_wrong_use() -> None:
    x, z, labels = films()
    with pytest.raises(ValueOutOfRange, match="k = 0"):
        KNearest(0)
    with pytest.raises(NotEstimable, match="no neighbour number 201"):
        KNearest(201).fit(x)
    for call in (lambda: KNearest().score(x), lambda: KNearest().state(), lambda: ViM().score(x, z), lambda: ViM().alpha):
        with pytest.raises(NotFitted, match="call fit"):
            call()
    with pytest.raises(ShapeMismatch, match="fitted on"):
        KNearest().fit(x).score(x[:, :3])
    with pytest.raises(ShapeMismatch, match="fitted on"):
        ViM().fit(x, z, labels).score(x, z[:, :1])
    with pytest.raises(ShapeMismatch, match="agree"):
        ViM(head=(np.ones((2, 5)), np.ones(2))).fit(x, z)
    with pytest.raises(ShapeMismatch, match="weight"):
        ViM(head=(np.ones((2, 5)), np.ones(3)))
    with pytest.raises(ValueOutOfRange):
        ViM(form="triple")
    with pytest.raises(NotEstimable, match="leave nothing of 24"):
        ViM(24).fit(x, z)
    with pytest.raises(NotEstimable, match="leave nothing outside 20"):
        ViM(20).fit(x[:15], z[:15])
    for broken in (KNearest(), ViM()):
        with pytest.raises(ValueOutOfRange, match="not finite"):
            broken.fit(x * np.nan, z)
