"""A bundle gives the same answer to a film alone, among others, in any order, and after it was saved and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.bundles import make_bundle, make_film
from vesalius.bundle.load import load
from vesalius.bundle.predictor import Predictor
from vesalius.types import Image, Prediction, Reason, View

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

films = some.builds(
    make_film,
    some.integers(0, 10_000),
    side=some.integers(70, 140),
    view=some.sampled_from([View.PA, View.AP, View.LATERAL, None]),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("properties") / "tiny"
    make_bundle(folder, members=2)
    return folder


@pytest.fixture(scope="module")
def bundle(path: Path) -> Predictor:
    return load(path, device="cpu")


@pytest.fixture(scope="module")
def again(path: Path) -> Predictor:
    return load(path, device="cpu")


def assert_same(one: Prediction, other: Prediction) -> None:
    """Equal but for the last bits of a float32, which depend on the batch a film is in."""
    assert (one.case, one.image_id, one.bundle) == (other.case, other.image_id, other.bundle)
    for mine, yours in zip(one.findings, other.findings, strict=True):
        assert (mine.name, mine.decision, mine.reason) == (yours.name, yours.decision, yours.reason)
        assert mine.logit == pytest.approx(yours.logit, abs=1e-4)
        assert (mine.probability is None) == (yours.probability is None)
        if mine.probability is not None and yours.probability is not None:
            assert mine.probability == pytest.approx(yours.probability, abs=1e-4)
    assert one.ood is not None
    assert other.ood is not None
    assert one.ood.score == pytest.approx(other.ood.score, rel=1e-3)


@FEW
@given(images=some.lists(films, min_size=1, max_size=6, unique_by=lambda image: image.image_id))
def test_alone_and_among_others(bundle: Predictor, images: list[Image]) -> None:
    for together, image in zip(bundle.predict_batch(images), images, strict=True):
        assert_same(together, bundle.predict(image))


@FEW
@given(images=some.lists(films, min_size=2, max_size=6, unique_by=lambda image: image.image_id), seed=some.integers(0, 99))
def test_in_any_order(bundle: Predictor, images: list[Image], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(images))
    shuffled = bundle.predict_batch([images[at] for at in order])
    straight = bundle.predict_batch(images)
    for place, at in enumerate(order):
        assert_same(shuffled[place], straight[at])


@FEW
@given(image=films)
def test_saved_and_loaded_to_the_last_bit(bundle: Predictor, again: Predictor, image: Image) -> None:
    one, other = bundle.predict(image), again.predict(image)
    assert one.findings == other.findings
    assert one.ood == other.ood


@FEW
@given(image=films)
def test_an_answer_is_whole(bundle: Predictor, image: Image) -> None:
    prediction = bundle.predict(image)
    lateral = image.view_position is View.LATERAL
    for finding in prediction.findings:
        assert (finding.decision == "abstain") == (finding.reason is not None)
        assert (finding.probability is None) == lateral == (finding.reason is Reason.NOT_ASSESSABLE)
        if finding.probability is not None:
            assert 0 < finding.probability < 1
            assert finding.uncertainty == min(finding.probability, 1 - finding.probability)
