"""Averaging over members and views, precision, and that evidence is there only when asked for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.bundles import PREPROCESSING, SIZE_PX, make_film, make_network
from vesalius.errors import BundleError, EmptyInput, ValueOutOfRange
from vesalius.inference.film import VIEWS, FilmInference, FilmView, NetworkOutput, join, look

FILMS = [make_film(seed) for seed in range(3)]


class Answer(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor
    patch_logits: torch.Tensor


class Brightness(torch.nn.Module):
    """Says how bright each half of a film is, times a factor; the answer is known without a network."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, films: torch.Tensor) -> Answer:
        halves = torch.stack([half.mean(dim=(1, 2, 3)) for half in films.chunk(2, dim=2)], dim=1) * self.factor
        return Answer(halves, films.mean(dim=(2, 3)), films[:, :, ::32, ::32].repeat(1, 2, 1, 1))


def expected_halves(factor: float) -> np.ndarray:
    films = PREPROCESSING.apply(FILMS).astype(np.float64)
    return factor * np.stack([films[:, 0, : SIZE_PX // 2].mean(axis=(1, 2)), films[:, 0, SIZE_PX // 2 :].mean(axis=(1, 2))], axis=1)


def test_members_are_averaged_as_logits_and_their_features_stand_side_by_side() -> None:
    output = FilmInference([Brightness(1.0), Brightness(4.0)], PREPROCESSING).run(FILMS)
    np.testing.assert_allclose(output.logits, expected_halves(2.5), atol=1e-5)
    assert output.features.shape == (3, 2)
    assert output.logits.dtype == output.features.dtype == np.float64


def test_views_are_averaged() -> None:
    views = (FilmView(), FilmView(rotate_deg=10.0))
    both = FilmInference([Brightness(1.0)], PREPROCESSING, views=views).run(FILMS).logits
    alone = [FilmInference([Brightness(1.0)], PREPROCESSING).run_tensor(seen).logits for seen in _seen(views)]
    np.testing.assert_allclose(both, np.mean(alone, axis=0), atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def _seen(views: tuple[FilmView, ...]) -> list[np.ndarray]:
    films = torch.from_numpy(PREPROCESSING.apply(FILMS))
    return [look(films, view, black=-2.0).numpy() for view in views]


def test_evidence_only_when_asked_for_and_from_the_film_as_it_is() -> None:
    inference = FilmInference([Brightness(1.0)], PREPROCESSING, views=VIEWS["rotate-scale"])
    assert inference.run(FILMS).evidence is None
    evidence = inference.run(FILMS, evidence=True).evidence
    assert evidence is not None
    assert evidence.dtype == np.float32
    np.testing.assert_array_equal(evidence[:, 0], PREPROCESSING.apply(FILMS)[:, 0, ::32, ::32])


def test_a_film_alone_and_among_others() -> None:
    inference = FilmInference([make_network()], PREPROCESSING)
    together = inference.run(FILMS, evidence=True)
    for film, one in zip(FILMS, together.cases(), strict=True):
        alone = inference.run([film], evidence=True)
        np.testing.assert_allclose(one.logits, alone.logits, atol=1e-5)
        np.testing.assert_allclose(one.features, alone.features, atol=1e-5)
        np.testing.assert_allclose(one.evidence, alone.evidence, atol=1e-5)
    again = join(list(together.cases()))
    np.testing.assert_array_equal(again.logits, together.logits)
    np.testing.assert_array_equal(again.evidence, together.evidence)


def test_bfloat16_is_another_contract_but_the_same_network() -> None:
    single = FilmInference([make_network()], PREPROCESSING).run(FILMS).logits
    half = FilmInference([make_network()], PREPROCESSING, precision="bfloat16").run(FILMS).logits
    assert not np.array_equal(single, half)
    np.testing.assert_allclose(half, single, atol=0.15)


def test_no_gradient_is_kept_and_dropout_sleeps() -> None:
    network = make_network().train()
    FilmInference([network], PREPROCESSING).run(FILMS)
    assert not network.training


def test_turning_moves_a_corner_the_way_it_says() -> None:
    film = torch.full((1, 1, 65, 65), -2.0)
    film[0, 0, 32, 52] = 5.0  # to the right of the centre
    turned = look(film, FilmView(rotate_deg=15.0), black=-2.0)[0, 0]
    row, column = divmod(int(turned.argmax()), 65)
    assert row < 31, "counter-clockwise lifts the right-hand side"
    assert column < 53
    assert float(turned[0, 0]) == -2.0, "what comes in from outside is black"
    larger = look(film, FilmView(scale=1.25), black=-2.0)[0, 0]
    assert int(larger.argmax()) % 65 == 57, "20 pixels from the centre become 25"


@pytest.mark.parametrize("view", [{"rotate_deg": 20.0}, {"scale": 0.5}, {"scale": -1.0}])
def test_views_that_are_no_longer_the_film_are_refused(view: dict[str, float]) -> None:
    with pytest.raises(BundleError, match="no longer the same film"):
        FilmView(**view)


def test_what_cannot_infer_is_refused() -> None:
    with pytest.raises(EmptyInput, match="at least one network"):
        FilmInference([], PREPROCESSING)
    with pytest.raises(EmptyInput, match="as it is"):
        FilmInference([Brightness(1.0)], PREPROCESSING, views=(FilmView(rotate_deg=4.0),))
    with pytest.raises(BundleError, match="float32, bfloat16"):
        FilmInference([Brightness(1.0)], PREPROCESSING, precision="float8")  # type: ignore[arg-type]
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(ValueOutOfRange, match="--device cpu"):
            FilmInference([Brightness(1.0)], PREPROCESSING, device=device)
    with pytest.raises(EmptyInput, match="no network output"):
        join([])


def test_every_offered_view_list_begins_with_the_film_as_it_is() -> None:
    assert all(views[0] == FilmView() for views in VIEWS.values())
    assert NetworkOutput(np.zeros((2, 1)), np.zeros((2, 3))).evidence is None
