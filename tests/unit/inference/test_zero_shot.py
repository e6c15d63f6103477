"""Films to contrasts: batches, ensembles, precision, and evidence that lies where the network looked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.bundles import make_film
from tests.image_text import CONTRACT, make_config, make_model, make_tokenizer
from vesalius.errors import EmptyInput, ShapeMismatch
from vesalius.inference.film import join
from vesalius.inference.zero_shot import ImageEmbedder, ZeroShotInference, place_evidence
from vesalius.models.contracts import FamilyContract
from vesalius.types import Image
from vesalius.zeroshot.heads import TextHead, contrast, text_weights
from vesalius.zeroshot.prompts import PromptSet, prompts_for

TOKENIZER = make_tokenizer()
CONFIG = make_config(TOKENIZER)
ASKED = prompts_for(["heart", "effusion"])
FILMS = [make_film(seed) for seed in range(6)]


def head_of(seed: int, asked: PromptSet = ASKED) -> TextHead:
    return text_weights(make_model(CONFIG, seed), lambda texts: TOKENIZER.encode(texts, 16), asked)


def make_inference(members: int = 1, **options: object) -> ZeroShotInference:
    models = [make_model(CONFIG, seed) for seed in range(members)]
    return ZeroShotInference(models, CONTRACT, [head_of(seed) for seed in range(members)], device="cpu", **options)  # type: ignore[arg-type]


def test_a_film_alone_is_a_film_in_a_batch() -> None:
    inference = make_inference()
    together = inference.run(FILMS)
    alone = join([inference.run([film]) for film in FILMS])
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-6)
    np.testing.assert_allclose(together.features, alone.features, atol=1e-5)
    assert together.logits.shape == (6, 2)
    assert np.ptp(together.logits, axis=0).min() > 1e-5


def test_an_ensemble_is_the_mean_of_contrasts_and_features_side_by_side() -> None:
    whole = make_inference(3).run(FILMS)
    single = []
    for seed in range(3):
        one = ZeroShotInference([make_model(CONFIG, seed)], CONTRACT, [head_of(seed)], device="cpu")
        single.append(one.run(FILMS))
    np.testing.assert_allclose(whole.logits, np.mean([one.logits for one in single], axis=0), atol=1e-7)
    np.testing.assert_allclose(whole.features, np.concatenate([one.features for one in single], axis=1), atol=1e-6)


def test_one_pass_of_the_towers_answers_any_number_of_heads() -> None:
    model = make_model(CONFIG)
    embedder = ImageEmbedder([model], CONTRACT, device="cpu")
    films = embedder.embed(FILMS)
    calls = []
    embedder.towers[0].register_forward_hook(lambda *_: calls.append(1))
    inference = ZeroShotInference(embedder, CONTRACT, [head_of(0)])
    np.testing.assert_allclose(inference.read(films).logits, inference.run(FILMS).logits, atol=1e-7)
    assert len(calls) == 1, "`read` computes nothing of an image anew"
    np.testing.assert_allclose(contrast(films.members[0], head_of(0)), inference.read(films).logits)


def test_bfloat16_moves_a_contrast_a_little() -> None:
    exact, rough = make_inference().run(FILMS).logits, make_inference(precision="bfloat16").run(FILMS).logits
    difference = np.abs(exact - rough).max()
    assert 0 < difference < 0.01


def test_evidence_is_the_scaled_contrast_of_every_patch() -> None:
    inference = make_inference(2)
    output = inference.run(FILMS[:2], evidence=True)
    assert output.evidence is not None
    assert output.evidence.shape == (2, 2, 4, 4), "64 px in patches of 16"
    films = inference.embedder.embed(FILMS[:2], patches=True)
    by_hand = np.zeros(2)
    for rows, head, scale in zip(films.patches, inference.heads, inference.embedder.scales, strict=True):
        patch = rows[1, :, 2, 3].astype(np.float64)
        assert np.linalg.norm(patch) == pytest.approx(1, abs=1e-5)
        assert head.negative is not None
        by_hand += scale * (patch @ head.positive.T - patch @ head.negative.T) / 2
    np.testing.assert_allclose(output.evidence[1, :, 2, 3], by_hand, atol=1e-4)
    assert inference.run(FILMS[:1]).evidence is None


def test_evidence_of_classes_is_what_each_has_above_their_mean() -> None:
    classes = PromptSet.of_classes({"a": ["heart"], "b": ["nodule"], "c": ["lungs"]})
    inference = ZeroShotInference([make_model(CONFIG)], CONTRACT, [head_of(0, classes)], device="cpu")
    evidence = inference.run(FILMS[:2], evidence=True).evidence
    assert evidence is not None
    np.testing.assert_allclose(evidence.sum(axis=1), 0, atol=1e-4)
    assert np.ptp(evidence) > 1e-3


def test_evidence_of_a_cropped_film_lies_in_the_middle() -> None:
    """A network that sees the central square of a wide film has nothing to say of its sides."""
    contract = FamilyContract("x", 32, "shortest", 32, "bilinear", 32)
    film = Image(np.zeros((100, 200), dtype=np.float32), "0" * 16)
    maps = np.full((1, 1, 4, 4), 2.0, dtype=np.float32)
    maps[0, 0, 0, 0] = -3.0
    placed = place_evidence(maps, [film], contract)[0, 0]
    side = placed.shape[0]
    assert placed.shape == (64, 64)
    middle = slice(side // 4 + 6, 3 * side // 4 - 6)
    assert (placed[middle, middle][10:, 10:] == 2.0).all()
    assert (placed[:, : side // 4 - 1] == -3.0).all(), "the least of the film, so no colour"
    assert (placed[: side // 4 - 1] == -3.0).all(), "above a wide film is padding"
    assert placed[side // 4 + 1, side // 4 + 1] == -3.0, "its upper left patch"
    np.testing.assert_array_equal(place_evidence(maps, [film], CONTRACT), maps, err_msg="the padded square needs no placing")


def test_evidence_of_a_square_film_through_a_crop_is_shrunk_to_what_was_kept() -> None:
    contract = FamilyContract("x", 32, "shortest", 64, "bilinear", 32)
    film = Image(np.zeros((100, 100), dtype=np.float32), "0" * 16)
    placed = place_evidence(np.ones((1, 1, 2, 2), dtype=np.float32), [film], contract)[0, 0]
    seen = placed == 1
    assert seen.sum() == 32 * 32, "half of either side"
    assert seen[16:48, 16:48].all()


def test_evidence_of_a_film_smaller_than_the_network_lies_on_the_film_and_not_on_what_was_padded() -> None:
    contract = FamilyContract("x", 64, "square", 64, "bilinear", 64)
    maps = np.full((1, 1, 4, 4), -1.0, dtype=np.float32)
    maps[0, 0, 1:3, 1:3] = 2.0  # the middle of the square, where a film of half its side lies
    (placed,) = place_evidence(maps, [Image(np.zeros((32, 32), dtype=np.float32), "0" * 16)], contract)[0]
    assert (placed[16:48, 16:48] == 2.0).all()
    large = [Image(np.zeros((64, 80), dtype=np.float32), "0" * 16)]
    np.testing.assert_array_equal(place_evidence(maps, large, contract), maps, err_msg="the padded square needs no placing")


def test_what_does_not_belong_together_is_refused() -> None:
    model = make_model(CONFIG)
    with pytest.raises(ShapeMismatch, match="one each"):
        ZeroShotInference([model], CONTRACT, [head_of(0), head_of(1)], device="cpu")
    both = [head_of(0), head_of(1, prompts_for(["nodule", "effusion"]))]
    with pytest.raises(ShapeMismatch, match="same findings"):
        ZeroShotInference([make_model(CONFIG), make_model(CONFIG, 1)], CONTRACT, both, device="cpu")
    with pytest.raises(EmptyInput):
        ImageEmbedder([], CONTRACT)
    with pytest.raises(EmptyInput):
        make_inference().run([])


def test_another_contract_over_the_same_towers_leaves_the_first_as_it_was() -> None:
    embedder = ImageEmbedder([make_model(CONFIG)], CONTRACT, device="cpu")
    other = replace(CONTRACT, mean=(0.1, 0.1, 0.1))
    inference = ZeroShotInference(embedder, other, [head_of(0)])
    assert inference.preprocessing == other
    assert embedder.preprocessing == CONTRACT
