from __future__ import annotations

import json

import numpy as np
import pytest

from vesalius.errors import RuleError, ValueOutOfRange
from vesalius.inference.film import VIEWS
from vesalius.uncertainty import (
    FILM_VIEWS,
    Chain,
    Flip,
    Gamma,
    Identity,
    Noise,
    Rotate,
    Rotate90,
    Scale,
    Shift,
    mirror_views,
    random_chains,
    transform_from_json,
)

IMAGE = np.random.default_rng(0).random((14, 11))


@pytest.mark.parametrize(
    "transform",
    [*FILM_VIEWS, *mirror_views(3), Rotate90(3), Shift((0.1, -2.5)), Noise(0.03, 9), *random_chains(4, sided=False, seed=5)],
)
def test_json_brings_the_same_transform_back(transform: object) -> None:
    again = transform_from_json(json.loads(json.dumps(transform.to_json())))
    assert again == transform
    assert again.name == transform.name


def test_a_chain_is_its_steps_and_goes_back_the_other_way() -> None:
    chain = Chain((Shift((2.0, 0.0)), Flip((-2,)), Gamma(0.7)))
    by_hand = Gamma(0.7).apply(Flip((-2,)).apply(Shift((2.0, 0.0)).apply(IMAGE)))
    np.testing.assert_array_equal(chain.apply(IMAGE), by_hand)
    only_places = Chain(chain.steps[:2])
    seen = chain.seen(IMAGE.shape)
    assert seen.mean() == pytest.approx(12 / 14)
    np.testing.assert_array_equal(only_places.inverse(only_places.apply(IMAGE))[seen], IMAGE[seen])
    assert not chain.laterality_safe
    assert Chain((Rotate(3.0),)).laterality_safe
    assert Chain().apply(IMAGE) is not None
    assert (Chain().name, Chain().dimensions) == ("identity()", 0)


def test_what_leaves_the_grid_halfway_is_not_seen() -> None:
    there_and_back = Chain((Shift((3.0, 0.0)), Shift((-3.0, 0.0))))
    assert there_and_back.seen((10, 10))[:, 0].tolist() == [True] * 7 + [False] * 3


def test_film_views_are_those_that_a_bundle_locks() -> None:
    locked = [(view.rotate_deg, view.scale) for view in VIEWS["rotate-scale"]]
    ours = [(getattr(view, "degrees", 0.0), getattr(view, "factor", 1.0)) for view in FILM_VIEWS]
    assert ours == locked


def test_mirror_views_are_all_different() -> None:
    for space, count in ((2, 4), (3, 8)):
        image = np.arange(2**space).reshape((2,) * space)
        assert len({view.apply(image).tobytes() for view in mirror_views(space)}) == count


def test_random_chains() -> None:
    pool = random_chains(40, length=2, seed=1)
    assert pool[0] == Identity()
    assert pool == random_chains(40, length=2, seed=1) != random_chains(40, length=2, seed=2)
    assert all(chain.laterality_safe for chain in pool)
    assert all(len(chain.steps) == 2 for chain in pool[1:])
    assert not all(chain.laterality_safe for chain in random_chains(40, sided=False))
    assert {chain.dimensions for chain in random_chains(40, space=3, length=4)} == {0, 2, 3}
    still = random_chains(20, strength=0.0, seed=3)
    for chain in still:
        np.testing.assert_allclose(chain.apply(IMAGE), IMAGE, atol=1e-12)


def test_refusals() -> None:
    with pytest.raises(RuleError, match="expected one of identity"):
        transform_from_json({"kind": "cutmix"})
    with pytest.raises(RuleError, match="other ones"):
        transform_from_json({"kind": "scale", "degrees": 3})
    with pytest.raises(ValueOutOfRange, match="0 to 1"):
        random_chains(5, strength=1.5)
    with pytest.raises(ValueOutOfRange):
        transform_from_json({**Scale(1.1).to_json(), "factor": 9})
