"""One dataclass is the command, its help and `run.toml`."""

from __future__ import annotations

from pathlib import Path

import pytest
import tyro

from vesalius.cli.train_classifier import Command, defaults
from vesalius.datasets.augmentation import AugmentationOptions
from vesalius.errors import RunError
from vesalius.training.options import (
    ClassifierOptions,
    OptimizationOptions,
    from_plain,
    load_toml,
    save_toml,
    to_plain,
)

FAR_FROM_DEFAULT = ClassifierOptions(
    store=Path("some store"),
    out=Path("run"),
    findings=("Pleural Effusion", "Nodule"),
    sites=("A",),
    encoder="resnet-small",
    size_px=128,
    steps=7,
    epochs=2.5,
    balance=True,
    optimization=OptimizationOptions(learning_rate=3e-5, swa=0.2),
    augmentation=AugmentationOptions(horizontal_flip=True, mixup=0.4),
    init_from=Path("earlier/run"),
)


@pytest.mark.parametrize("options", [FAR_FROM_DEFAULT, ClassifierOptions(store=Path("s"), out=Path("o"))])
def test_settings_survive_the_file(options: ClassifierOptions, tmp_path: Path) -> None:
    save_toml(options, tmp_path / "run.toml")
    assert load_toml(ClassifierOptions, tmp_path / "run.toml") == options
    assert load_toml(ClassifierOptions, tmp_path) == options, "the folder of the run will do"


def test_the_flags_read_as_people_write_them() -> None:
    words = "--store S --out R --findings Effusion,Nodule --sites A --size 128 --learning-rate 1e-4 --steps 9"
    command = tyro.cli(Command, args=[*words.split(), "--horizontal-flip", "--balance"])
    assert (command.store, command.out, command.findings, command.sites) == (Path("S"), Path("R"), ("Effusion", "Nodule"), ("A",))
    assert (command.size_px, command.steps, command.balance, command.json) == (128, 9, True, False)
    assert (command.optimization.learning_rate, command.augmentation.horizontal_flip) == (1e-4, True)


@pytest.mark.parametrize("flag", ["--config {}", "--config={}"])
def test_a_config_gives_the_defaults_and_flags_are_stronger(flag: str, tmp_path: Path) -> None:
    save_toml(FAR_FROM_DEFAULT, tmp_path / "run.toml")
    words = [*flag.format(tmp_path / "run.toml").split(), "--out", "elsewhere", "--epochs", "30"]
    command = tyro.cli(Command, args=words, default=defaults(words))
    settings = from_plain(ClassifierOptions, {k: v for k, v in to_plain(command).items() if k not in {"config", "json"}}, "test")
    expected = {**to_plain(FAR_FROM_DEFAULT), "out": "elsewhere", "epochs": 30.0}
    assert to_plain(settings) == expected


def test_without_a_config_there_are_no_other_defaults() -> None:
    assert defaults(["--store", "S"]) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("store = 's'\nout = 'o'\nepoch = 3\n", "does not know: epoch"),
        ("store = 's'\n", "not given: out"),
        ("store = 's'\nout = 'o'\nbatch_size = 'many'\n", "batch_size is 'many'; expected int"),
        ("store = 's'\nout = 'o'\nbatch_size = true\n", "expected int"),
        ("store = 's'\nout = 'o'\nloss = 'hinge'\n", "one of: bce, asymmetric, focal"),
        ("store = 's'\nout = 'o'\n[optimization]\nspeed = 1.0\n", "optimization.* does not know: speed|speed"),
        ("store = ", "is not a TOML file"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(RunError, match=words):
        load_toml(ClassifierOptions, tmp_path / "run.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no settings at"):
        load_toml(ClassifierOptions, tmp_path / "nothing.toml")
