"""The recipe `image-text`: films and reports in, a run out."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from tests.image_text import make_image_text_bundle
from tests.reports import PLANTED, WORDS, square_reports, tiny
from vesalius.datasets.augmentation import AugmentationOptions
from vesalius.datasets.store import Store
from vesalius.errors import EmptyInput, LabelsError, RunError, ValueOutOfRange
from vesalius.models.clip import ImageTextModel
from vesalius.models.clip_config import VisionEncoder
from vesalius.models.tokenizer import Tokenizer
from vesalius.training.fit import Task
from vesalius.training.image_text import load_image_text_run, make_plan, refuse_impossible, train_image_text
from vesalius.training.image_text_options import ContrastOptimization, ImageTextOptions
from vesalius.training.image_text_setting import gather, settle
from vesalius.training.image_text_start import Start
from vesalius.training.image_text_task import clip_contrast, make_task, medclip_contrast
from vesalius.training.run import load_run

STILL = AugmentationOptions(rotate_deg=0, scale=0, shift=0, gamma=0, contrast=0, noise=0, blur=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return square_reports(tmp_path_factory.mktemp("reports") / "store", n=96)


def options_for(store: Store, out: Path, **changes: Any) -> ImageTextOptions:
    return ImageTextOptions(**tiny(store, out, **changes))


def setting_for(options: ImageTextOptions) -> Any:
    material = gather(options)
    tokenizer = Tokenizer.train([text for text in material.words.texts if text], kind="bert", vocabulary=200)
    return settle(options, material, Start(), tokenizer)


@pytest.fixture(scope="module", params=["clip", "medclip"])
def run(request: pytest.FixtureRequest, store: Store, tmp_path_factory: pytest.TempPathFactory) -> ImageTextOptions:
    """A run that learns: words for squares."""
    options = options_for(
        store,
        tmp_path_factory.mktemp(request.param),
        recipe=request.param,
        vision="resnet-small",
        steps=90,
        batch_size=24,
        sentences="one",
        evaluations=3,
        optimization=ContrastOptimization(learning_rate=2e-3),
    )
    train_image_text(options)
    return options


def test_words_find_what_films_show(run: ImageTextOptions) -> None:
    found = load_image_text_run(run.out)
    areas = found.best["zero_shot_auroc"]
    assert set(areas) == {"Upper", "Lower"}
    assert found.best["zero_shot_macro_auroc"] > 0.8, areas
    assert found.sites == ("A", "B")


def test_the_run_answers_for_itself(run: ImageTextOptions, store: Store) -> None:
    """Weights, configuration, tokenizer and contract on disk give the figures that metrics.jsonl speaks of."""
    from vesalius.metrics.classification import auroc

    found = load_image_text_run(run.out)
    model = ImageTextModel(found.config).eval()
    model.load_state_dict(load_file(found.weights[0]))
    tokenizer = Tokenizer(found.tokenizer)
    rows = [row for row in store.rows(split="validation") if store.manifest.view_position[row] != "LATERAL"]
    encoded = tokenizer.encode(["upper", "no upper"], 24)
    with torch.inference_mode():
        films = model.embed_images(torch.from_numpy(found.contract.apply([store.image(row) for row in rows])))
        words = model.embed_texts(torch.from_numpy(encoded.tokens), torch.from_numpy(encoded.mask))
    cosines = (films @ words.T).double().numpy()
    truth = store.labels(["Upper"])[rows, 0]
    assert auroc(np.where(truth == -1, np.nan, truth), cosines[:, 0] - cosines[:, 1]) == pytest.approx(
        found.best["zero_shot_auroc"]["Upper"], abs=1e-9
    )


def test_nothing_of_a_report_is_in_any_file_of_a_run(run: ImageTextOptions) -> None:
    for path in run.out.rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            assert PLANTED.lower().encode() not in content, path
            for sides in WORDS.values():
                assert all(words.lower().encode() not in content for side in sides for words in side), path


def test_the_settings_reproduce_the_run_and_nothing_of_this_machine_travels(store: Store, tmp_path: Path) -> None:
    from vesalius.training.options import load_toml

    options = options_for(store, tmp_path / "one")
    train_image_text(options)
    again = replace(load_toml(ImageTextOptions, options.out / "run.toml"), out=tmp_path / "two")
    assert again == replace(options, out=again.out)
    train_image_text(again)
    weights = [(folder / "checkpoints/best.safetensors").read_bytes() for folder in (options.out, again.out)]
    assert weights[0] == weights[1]
    model = json.loads((options.out / "model.json").read_text())
    assert str(tmp_path) not in json.dumps(model)


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path / "run")
    first = train_image_text(options)
    again = train_image_text(options)
    assert again.nothing_to_do
    assert again.best["step"] == first.best["step"]
    with pytest.raises(RunError, match="seed was 0, is 1"):
        train_image_text(replace(options, seed=1))
    with pytest.raises(RunError, match="recipe image-text"):
        load_run(options.out)


class Stop(Exception):
    pass


@pytest.mark.parametrize("recipe", ["clip", "medclip"])
def test_a_stopped_run_goes_on_with_the_same_numbers(recipe: str, store: Store, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise Stop

    changes: dict[str, Any] = {"recipe": recipe, "steps": 8, "save_every": 2, "contrast_batch": 12, "batch_size": 5, "keep": 2}
    whole, broken = (options_for(store, tmp_path / name, **changes) for name in ("whole", "broken"))
    train_image_text(whole)
    with pytest.raises(Stop):
        train_image_text(broken, stop)
    train_image_text(broken)
    times = {"seconds", "films_per_second"}
    lines = [
        [
            {k: v for k, v in json.loads(line).items() if k not in times}
            for line in (one.out / "metrics.jsonl").read_text().splitlines()
        ]
        for one in (whole, broken)
    ]
    assert lines[0] == lines[1]
    kept = [sorted((one.out / "checkpoints").glob("*.safetensors")) for one in (whole, broken)]
    assert [path.name for path in kept[0]] == [path.name for path in kept[1]]
    assert len(kept[0]) == 3
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*kept, strict=True))
    assert [path.name for path in load_image_text_run(broken.out).weights] == [
        path.name for path in load_image_text_run(whole.out).weights
    ]


def test_caching_takes_the_same_step(store: Store, tmp_path: Path) -> None:
    """Eight pairs at once or in parts of three: the loss of the first step is the same; no dropout in these towers' eval mode."""
    losses = []
    for at_once in (8, 3):
        options = options_for(store, tmp_path, contrast_batch=8, batch_size=at_once, augmentation=STILL)
        setting = setting_for(options)
        torch.manual_seed(0)
        model = ImageTextModel(setting.config).eval()
        fabric = Fabric(accelerator="cpu", devices=1)
        module = fabric.setup_module(model)
        task: Task = make_task(fabric, options, setting)
        assert task.gradient is not None
        losses.append(float(task.gradient(module, [task.batch(0, part) for part in range(options.parts)])))
        assert options.parts == (1 if at_once == 8 else 3)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_every_report_is_read_once_an_epoch_and_with_its_own_film(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path, sentences="all")
    setting = setting_for(options)
    films = len(setting.train)
    cases, texts = [], []
    for step in range(-(-films // 8)):
        contrast = clip_contrast(options, setting, step)
        cases += contrast.cases.tolist()
        texts += contrast.texts
    assert sorted(cases[:films]) == list(range(films))
    assert all(text == setting.reports.whole[case] for case, text in zip(cases, texts, strict=True))


def test_equal_words_are_right_answers_unless_they_shall_clash(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path, sentences="one", contrast_batch=16, batch_size=16)
    setting = setting_for(options)
    contrast = clip_contrast(options, setting, 0)
    assert contrast.targets is not None
    images, texts = contrast.targets
    torch.testing.assert_close(images.sum(1), torch.ones(16))
    torch.testing.assert_close(texts.sum(1), torch.ones(16))
    for text, row in enumerate(texts):
        sentence = f". {contrast.texts[text]}".lower()
        said = [sentence in f". {setting.reports.whole[case]}".lower() for case in contrast.cases]
        assert (row > 0).tolist() == said
    assert clip_contrast(replace(options, shared_words="negatives"), setting, 0).targets is None


def test_medclip_targets_follow_the_labels(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path, recipe="medclip", contrast_batch=24, batch_size=24)
    setting = setting_for(options)
    contrast = medclip_contrast(options, setting, 3)
    assert contrast.targets is not None
    labels = setting.labels[contrast.cases]
    compared = 0
    for place, text in enumerate(contrast.texts):
        said = {
            name: (0.0 if text.lower().startswith(("no", "there is no")) else 1.0) for name in WORDS if name.lower() in text.lower()
        }
        (name, value) = next(iter(said.items()))
        column = list(WORDS).index(name)
        both = ~np.isnan(labels).any(axis=1)
        agreeing, against = labels[:, column] == value, labels[:, column] == 1 - value
        target = contrast.targets[1][place].numpy()
        if (agreeing & both).any() and (against & both).any():
            assert target[agreeing & both].min() > 100 * target[against & both].max()
            compared += 1
    assert compared > 10


def test_medclip_takes_films_without_report_and_reports_without_film(tmp_path: Path) -> None:
    silent = tuple(range(0, 96, 2))
    store = square_reports(tmp_path / "store", n=96, without_report=silent)
    texts = tmp_path / "more.txt"
    texts.write_text("An upper square of another hospital.\n" * 3 + "Nothing about anything.\n")
    options = options_for(store, tmp_path / "run", recipe="medclip", texts=texts)
    material = gather(options)
    with_words = sum(map(bool, material.texts.texts))
    assert 0 < with_words < len(material.rows), "films without report are there"
    clip = gather(options_for(store, tmp_path / "clip"))
    assert len(clip.rows) < len(material.rows)
    assert all(clip.texts.texts)
    assert "without a report were left out" in clip.notes[0]
    assert "An upper square of another hospital." in setting_for(options).sentences.sentences


def test_films_without_labels_take_them_from_their_reports(tmp_path: Path) -> None:
    labelled = square_reports(tmp_path / "labelled", n=48)
    from vesalius.datasets.store import write_store

    manifest = labelled.manifest.drop(columns=["label:Upper", "label:Lower"])
    levels = np.rint(labelled.pixels(range(48)) * 255).astype(np.uint16)
    store = write_store(tmp_path / "bare", levels, manifest)
    options = options_for(store, tmp_path / "run", recipe="medclip", findings=("Upper", "Lower"))
    material = gather(options)
    truth = labelled.labels()[material.rows]
    both = ~np.isnan(truth) & ~np.isnan(material.labels) & (truth >= 0)
    assert both.sum() > 20
    assert (material.labels[both] == truth[both]).all()
    assert material.score == "retrieval"
    assert setting_for(options).findings == ("Upper", "Lower"), "they taught, although no film of the validation is labelled"
    train_image_text(options)
    assert load_image_text_run(options.out).findings == ("Upper", "Lower")
    assert "zero_shot_auroc" not in load_image_text_run(options.out).best
    clip = replace(options, recipe="clip")
    assert setting_for(clip).findings == ()
    assert np.isnan(gather(clip).labels).all(), "pairs teach: nobody asks what the reports say"
    with pytest.raises(RunError, match="--findings"):
        gather(replace(options, findings=()))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_optimizers(optimizer: str, store: Store, tmp_path: Path) -> None:
    """One step of plain SGD moves the weights by the learning rate times the gradient; AdamW does not."""
    how = ContrastOptimization(
        optimizer=optimizer, learning_rate=0.1, warmup=0, final_learning_rate=1, weight_decay=0, clip_norm=0, ema_decay=0
    )
    options = options_for(store, tmp_path / optimizer, steps=1, evaluations=1, optimization=how, augmentation=STILL)
    train_image_text(options)
    line = json.loads((options.out / "metrics.jsonl").read_text())
    setting = setting_for(options)
    torch.manual_seed(options.seed)
    begun = ImageTextModel(setting.config).state_dict()
    ended = load_file(options.out / "checkpoints" / "best.safetensors")
    moved = math.sqrt(sum(float((ended[name] - begun[name]).double().square().sum()) for name in begun))
    if optimizer == "sgd":
        assert moved == pytest.approx(0.1 * line["gradient_norm"], rel=1e-3)
    else:
        assert moved > 0.5 * line["gradient_norm"]


def test_going_on_from_a_run_or_a_bundle(store: Store, tmp_path: Path) -> None:
    """With a learning rate of nothing, what was begun from is what comes out."""
    rest = ContrastOptimization(learning_rate=1e-12, weight_decay=0, ema_decay=0)
    first = options_for(store, tmp_path / "first")
    train_image_text(first)
    second = options_for(store, tmp_path / "second", vision="resnet-small", init_from=first.out, optimization=rest)
    summary = train_image_text(second)
    assert any("are those of first" in note for note in summary.notes)
    runs = [load_image_text_run(one.out) for one in (first, second)]
    assert runs[0].config == runs[1].config
    assert (runs[0].tokenizer, runs[0].contract) == (runs[1].tokenizer, runs[1].contract)
    for name, weight in load_file(runs[0].weights[0]).items():
        torch.testing.assert_close(load_file(runs[1].weights[0])[name], weight, atol=1e-6, rtol=0, msg=name)
    make_image_text_bundle(tmp_path / "bundle", members=2)
    third = options_for(store, tmp_path / "third", init_from=tmp_path / "bundle", optimization=rest)
    summary = train_image_text(third)
    assert any("the first was taken" in note for note in summary.notes)
    begun = load_file(tmp_path / "bundle" / "weights-1.safetensors")
    found = load_image_text_run(third.out)
    assert found.contract.store_size_px == 32
    torch.testing.assert_close(load_file(found.weights[0])["log_scale"], begun["log_scale"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contrast_batch": 4}, "--contrast-batch 4 is less than --batch-size 8"),
        ({"batch_size": 9, "devices": 2}, "multiple of the processes"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"steps": 0}, "more than 0"),
        ({"augmentation": AugmentationOptions(mixup=0.2)}, "--mixup"),
        ({"texts": Path("x.csv")}, "--recipe medclip"),
        ({"init_from": Path("a"), "init_text": Path("b")}, "--init-text"),
        ({"init_from": Path("a"), "tokenizer": Path("b")}, "--tokenizer"),
        ({"sites": ("C",)}, "no site C"),
        ({"batch_size": 4000}, "a step needs 4000"),
        ({"precision": "16-mixed"}, "needs a GPU"),
        ({"accelerator": "gpu"}, "no GPU"),
        ({"context_length": 2}, "--context-length is 2"),
        ({"size_px": 30}, "--size 30 is no multiple of the 16 pixels"),
        ({"size_px": 8}, "--size 8 is no multiple of the 16 pixels"),
        ({"vision": "swin-tiny"}, "swin-tiny cannot see squares of 32 pixels"),
        ({"vision": "vit-conv-small", "size_px": 40}, "a multiple of 16; got 40"),
        ({"recipe": "medclip", "sharpness": -1.0}, "--sharpness"),
        ({"optimization": ContrastOptimization(learning_rate=-1.0)}, "--learning-rate is -1"),
        ({"optimization": ContrastOptimization(learning_rate=math.nan)}, "--learning-rate is nan"),
        ({"optimization": ContrastOptimization(warmup=3.0)}, "--warmup is 3"),
        ({"optimization": ContrastOptimization(ema_decay=2.0)}, "--ema-decay is 2"),
        ({"optimization": ContrastOptimization(swa=-0.1)}, "--swa is -0.1"),
        ({"optimization": ContrastOptimization(clip_norm=-1.0)}, "--clip-norm is -1"),
        ({"optimization": ContrastOptimization(weight_decay=-1.0)}, "--weight-decay is -1"),
        ({"optimization": ContrastOptimization(momentum=1.0)}, "--momentum is 1"),
        ({"optimization": ContrastOptimization(text_rate=-1.0)}, "--text-rate is -1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    changes: dict[str, Any], words: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(RunError, match=re.escape(words)):
        train_image_text(options_for(store, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("vision", get_args(VisionEncoder))
def test_every_encoder_sees_films_of_the_usual_size(vision: str, store: Store, tmp_path: Path) -> None:
    refuse_impossible(options_for(store, tmp_path, vision=vision, size_px=224))


@pytest.mark.parametrize(("before", "error"), [({"minimum_patients": 99}, EmptyInput), ({"vocabulary": 3}, ValueOutOfRange)])
def test_a_run_that_could_not_begin_leaves_nothing_that_refuses_the_next(
    before: dict[str, Any], error: type[Exception], store: Store, tmp_path: Path
) -> None:
    with pytest.raises(error):
        train_image_text(options_for(store, tmp_path / "run", **before))
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    train_image_text(options_for(store, tmp_path / "run"))


def test_an_unknown_finding_and_a_score_that_cannot_be(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="Fracture"):
        train_image_text(options_for(store, tmp_path, findings=("Fracture",)))
    mute = square_reports(tmp_path / "mute", n=48, without_report=tuple(range(6, 48)))
    with pytest.raises(RunError, match="retrieval cannot be had"):
        train_image_text(options_for(mute, tmp_path / "run", batch_size=2, score="retrieval"))


def test_reports_that_are_cut_are_counted(store: Store, tmp_path: Path) -> None:
    assert not [note for note in setting_for(options_for(store, tmp_path, context_length=77)).notes if "cut" in note]
    short = setting_for(options_for(store, tmp_path, context_length=8))
    (note,) = [note for note in short.notes if "cut" in note]
    encoded = short.tokenizer.encode(short.reports.whole, 500, too_long="cut")
    share = (encoded.mask.sum(axis=1) > 8).mean()
    assert 0 < share <= 1
    assert note.startswith(f"{share:.0%} of the reports are longer than 8 tokens")
    assert "--context-length" in note


def test_epochs_are_counted_in_the_contrast_batch(store: Store, tmp_path: Path) -> None:
    options = options_for(store, tmp_path, steps=None, epochs=3.0, contrast_batch=16)
    plan = make_plan(options, setting_for(options))
    assert plan.steps == round(3 * plan.epoch_films / 16)
    assert plan.parts == 2


@pytest.mark.parametrize(("begun", "bound"), [(5.2, math.log(100)), (-0.4, 0.0)])
def test_a_scale_that_left_its_bounds_comes_back_and_goes_on_learning(
    begun: float, bound: float, store: Store, tmp_path: Path
) -> None:
    """CLIP's and MedCLIP's authors clamp the parameter itself: clamped on its way to the loss, it would never learn again."""
    options = options_for(store, tmp_path, contrast_batch=8, batch_size=4)
    setting = setting_for(options)
    model = ImageTextModel(setting.config)
    with torch.no_grad():
        model.log_scale.fill_(begun)
    fabric = Fabric(accelerator="cpu", devices=1)
    module, task = fabric.setup_module(model), make_task(fabric, options, setting)
    assert task.gradient is not None
    task.gradient(module, [task.batch(0, part) for part in range(options.parts)])
    assert model.log_scale.item() == pytest.approx(bound, abs=1e-6)
    assert model.log_scale.grad is not None
    assert abs(float(model.log_scale.grad)) > 1e-6
