"""The recipe `classifier`: a store in, a run out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from tests.stores import square_films
from vesalius.datasets.augmentation import AugmentationOptions
from vesalius.datasets.store import Store
from vesalius.errors import LabelsError, RunError
from vesalius.losses.multilabel import binary_cross_entropy
from vesalius.losses.partial_labels import marginal_likelihood_loss
from vesalius.models.classifier import build_classifier
from vesalius.training.classifier import setup, train_classifier
from vesalius.training.film_task import film_losses, label_loss, score_validation, training_batch
from vesalius.training.options import ClassifierOptions, OptimizationOptions
from vesalius.training.run import load_run

STILL = AugmentationOptions(rotate_deg=0, scale=0, shift=0, gamma=0, contrast=0, noise=0, blur=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return square_films(tmp_path_factory.mktemp("squares") / "store", n=96)


def options_for(store: Store, out: Path, **changes: object) -> ClassifierOptions:
    settings = ClassifierOptions(
        store=store.path, out=out, encoder="resnet-small", size_px=32, steps=8, batch_size=8, evaluations=2, accelerator="cpu"
    )
    return replace(settings, **changes)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> ClassifierOptions:
    options = options_for(store, tmp_path_factory.mktemp("run"), steps=40, batch_size=16)
    train_classifier(options)
    return options


def test_it_learns_what_the_films_show(run: ClassifierOptions) -> None:
    found = load_run(run.out)
    assert found.best["macro_auroc"] > 0.9
    assert (found.findings, found.sites, found.config.size_px) == (("Upper", "Lower"), ("A", "B"), 32)
    assert found.films == {"train": 45, "validation": 21}


def test_the_run_answers_for_itself(run: ClassifierOptions, store: Store) -> None:
    """Weights, configuration and contract on disk give the logits that the last line of metrics speaks of."""
    found = load_run(run.out)
    network = build_classifier(found.config)
    network.load_state_dict(load_file(found.weights))
    rows = [row for row in store.rows(split="validation") if store.manifest.view_position[row] != "LATERAL"]
    with torch.inference_mode():
        films = found.preprocessing.apply([store.image(row) for row in rows])
        logits = network.eval()(torch.from_numpy(films)).logits.double()
    truth = torch.from_numpy(store.labels()[rows])
    known = (truth == 0) | (truth == 1)
    loss = binary_cross_entropy(logits, truth.float(), known)
    assert loss.item() == pytest.approx(found.best["validation_loss"], rel=1e-3)


def test_the_settings_reproduce_the_run_and_nothing_of_this_machine_travels(run: ClassifierOptions, tmp_path: Path) -> None:
    from vesalius.training.options import load_toml

    again = replace(load_toml(ClassifierOptions, run.out / "run.toml"), out=tmp_path)
    train_classifier(again)
    assert (tmp_path / "checkpoints/best.safetensors").read_bytes() == (run.out / "checkpoints/best.safetensors").read_bytes()
    model = json.loads((run.out / "model.json").read_text())
    assert str(run.store) not in json.dumps(model)
    assert set(model["options"]) >= {"batch_size", "optimization", "augmentation"}


def test_a_finished_run_is_not_trained_again(run: ClassifierOptions) -> None:
    before = (run.out / "metrics.jsonl").read_bytes()
    summary = train_classifier(run)
    assert summary.nothing_to_do
    assert summary.present.keys() == {"Upper", "Lower"}
    assert (run.out / "metrics.jsonl").read_bytes() == before


def test_other_settings_do_not_go_on_with_a_run(run: ClassifierOptions) -> None:
    with pytest.raises(RunError, match=r"batch_size was 16, is 4.*another --out"):
        train_classifier(replace(run, batch_size=4))


def test_an_unfinished_run_and_no_run_are_told_apart(store: Store, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(RunError, match="no training run at"):
        load_run(tmp_path)
    with pytest.raises(Stop):
        train_classifier(options_for(store, tmp_path), stop)
    with pytest.raises(RunError, match=r"not finished; go on with `vesalius train classifier --config"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "asymmetric"},
        {"loss": "focal", "uncertain_labels": "marginalise"},
        {"balance": True, "accumulate": 2, "channels": 3, "dropout": 0.2},
        {"uncertain_labels": "lsr", "augmentation": AugmentationOptions(mixup=0.4, cutmix=1.0)},
        {"encoder": "vit-tiny-16", "pooling": "logsumexp", "precision": "bf16-mixed", "evidence_weight": 0.0},
        {"sites": ("A",), "findings": ("Lower",), "cache_gb": 0.0, "optimization": OptimizationOptions(swa=0.5)},
    ],
)
def test_every_choice_trains(store: Store, tmp_path: Path, changes: dict[str, object]) -> None:
    summary = train_classifier(options_for(store, tmp_path, steps=2, **changes))
    assert np.isfinite(summary.best["validation_loss"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 2, "accumulate": 4}, "cannot be split into 4 parts"),
        ({"batch_size": 0}, "--batch-size is 0; expected at least 1"),
        ({"steps": 0}, "more than 0"),
        ({"precision": "16-mixed"}, "needs a GPU"),
        ({"loss": "focal", "balance": True}, "leave one of them out"),
        ({"uncertain_labels": "marginalise", "augmentation": AugmentationOptions(mixup=1.0)}, "cannot be mixed"),
        ({"sites": ("Z",)}, "no site Z; it has: A, B"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    store: Store, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(RunError, match=words):
        train_classifier(options_for(store, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_an_unknown_finding_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="no finding Nodule"):
        train_classifier(options_for(store, tmp_path, findings=("Nodule",)))


def test_a_store_without_masks_says_that_evidence_was_not_guided(tmp_path: Path) -> None:
    bare = square_films(tmp_path / "bare", masks=False)
    assert any("not guided" in note for note in setup(options_for(bare, tmp_path / "run")).notes)


def test_training_and_inference_see_the_same_tensor(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path, augmentation=STILL, batch_size=5)
    setting, fabric = setup(options), Fabric(accelerator="cpu", devices=1)
    batch = training_batch(fabric, options, setting, 0, 0)
    from vesalius.training.data import films_of_step

    rows = setting.train.rows[films_of_step(0, len(setting.train), 5, options.seed)]
    expected = setting.preprocessing.apply([store.image(int(row)) for row in rows])
    np.testing.assert_allclose(batch.images.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(batch.known.numpy(), ~np.isnan(store.labels()[rows]) & (store.labels()[rows] != -1))
    assert batch.counts.tolist() == [batch.known.sum(), batch.masks_known.sum()]


def test_a_batch_is_the_same_whenever_it_is_made_and_parts_are_the_whole(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path)
    setting, fabric = setup(options), Fabric(accelerator="cpu", devices=1)
    first, again, later = (training_batch(fabric, options, setting, step, 0) for step in (3, 3, 4))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, later.images)
    still = replace(options, augmentation=STILL)
    whole = training_batch(fabric, still, setting, 3, 0)
    split = replace(still, accumulate=3)
    parts = [training_batch(fabric, split, setting, 3, part) for part in range(3)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert sum(part.counts for part in parts).tolist() == whole.counts.tolist()


def test_open_labels_weigh_as_many_as_they_are(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path, uncertain_labels="marginalise", augmentation=STILL, batch_size=45)
    setting, fabric = setup(options), Fabric(accelerator="cpu", devices=1)
    batch = training_batch(fabric, options, setting, 0, 0)
    assert batch.uncertain.sum() == 1
    logits = torch.randn(batch.targets.shape, generator=torch.Generator().manual_seed(0))
    # with hard targets the marginal likelihood is the cross-entropy, so one call over all labels says the same
    expected = marginal_likelihood_loss(logits, batch.targets, batch.known)
    torch.testing.assert_close(label_loss(logits, batch, options, setting), expected)


def test_the_evidence_term_has_its_weight(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path)
    setting, fabric = setup(options), Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    network = build_classifier(setting.config).eval()
    batch = training_batch(fabric, options, setting, 0, 0)
    half, double = (film_losses(network, batch, replace(options, evidence_weight=weight), setting) for weight in (0.5, 2.0))
    assert half[0] == double[0]
    assert double[1].item() == pytest.approx(4 * half[1].item(), rel=1e-5)
    assert half[1] > 0


def test_macro_figures_are_means_of_what_is_defined(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path)
    setting = setup(options)
    setting.validation_truth[:, 1] = 0
    network = build_classifier(setting.config).eval()
    with torch.inference_mode():
        figures = score_validation(Fabric(accelerator="cpu", devices=1), network, options, setting)
    assert np.isnan(figures["auroc"]["Lower"])
    assert figures["macro_auroc"] == figures["auroc"]["Upper"]
    assert figures["macro_auprc"] == figures["auprc"]["Upper"]
