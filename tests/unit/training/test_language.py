"""The recipe `language`: reports in, an encoder of words out that image-text training begins with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.reports import PLANTED, square_reports, tiny
from vesalius.datasets.store import Store
from vesalius.errors import EmptyInput, RunError
from vesalius.models.clip_config import build_config
from vesalius.training.image_text import load_image_text_run, train_image_text
from vesalius.training.image_text_options import ContrastOptimization, ImageTextOptions
from vesalius.training.image_text_run import load_language_run
from vesalius.training.language import LanguageModel, gather_texts, train_language
from vesalius.training.language_options import LanguageOptions
from vesalius.training.options import OptimizationOptions


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return square_reports(tmp_path_factory.mktemp("reports") / "store", n=96)


def options_for(out: Path, **changes: Any) -> LanguageOptions:
    settings: dict[str, Any] = {"text": "gpt-tiny", "steps": 4, "evaluations": 2, "batch_size": 8, "accelerator": "cpu"}
    return LanguageOptions(out=out, **{**settings, "context_length": 32, "vocabulary": 300} | changes)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> LanguageOptions:
    options = options_for(
        tmp_path_factory.mktemp("words"), store=store.path, steps=60, optimization=OptimizationOptions(learning_rate=3e-3)
    )
    train_language(options)
    return options


def test_it_learns_to_tell_the_next_token(run: LanguageOptions) -> None:
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation_loss"] < 1.5, "one that has learned nothing has the logarithm of its vocabulary, above 5"
    assert lines[-1]["perplexity"] == pytest.approx(math.exp(lines[-1]["validation_loss"]))
    assert not [path for path in run.out.rglob("*") if path.is_file() and PLANTED.lower().encode() in path.read_bytes().lower()]


def test_every_text_counts_once_however_many_films_it_has(store: Store, tmp_path: Path) -> None:
    texts = gather_texts(options_for(tmp_path, store=store.path), "train")
    assert len(set(texts.texts)) == len(texts)
    assert all(texts.texts)


@pytest.mark.parametrize("encoder", ["gpt-tiny", "clip-text"])
def test_padding_changes_nothing_and_the_future_is_not_seen(encoder: str) -> None:
    torch.manual_seed(0)
    model = LanguageModel(build_config("vit-tiny", encoder, vocabulary=50, context_length=16).text).eval()
    tokens = torch.randint(1, 50, (2, 9))
    mask = torch.ones_like(tokens)
    with torch.inference_mode():
        alone = model(tokens[:1], mask[:1])
        padded = torch.nn.functional.pad(tokens[:1], (0, 4)), torch.nn.functional.pad(mask[:1], (0, 4))
        torch.testing.assert_close(model(*padded), alone, rtol=1e-5, atol=1e-5)
        changed = tokens.clone()
        changed[:, 6:] = 7
        states = [model.text.hidden(one, mask)[:, :6] for one in (tokens, changed)]
    torch.testing.assert_close(states[0], states[1])


def test_parts_are_the_whole(store: Store, tmp_path: Path) -> None:
    """Texts differ in length: a mean of means would be another loss. Dropout is drawn a part, so only the first loss is near."""
    lines = []
    for parts in (1, 3):
        options = options_for(tmp_path / str(parts), store=store.path, steps=1, evaluations=1, accumulate=parts, batch_size=9)
        train_language(options)
        lines.append(json.loads((options.out / "metrics.jsonl").read_text()))
    assert lines[1]["train_loss"] == pytest.approx(lines[0]["train_loss"], rel=0.01)


def test_image_text_training_begins_with_the_encoder(run: LanguageOptions, store: Store, tmp_path: Path) -> None:
    rest = ContrastOptimization(learning_rate=1e-12, weight_decay=0, ema_decay=0)
    options = ImageTextOptions(**tiny(store, tmp_path / "run", init_text=run.out, optimization=rest))
    summary = train_image_text(options)
    assert any("text encoder, tokenizer and context length" in note for note in summary.notes)
    language, found = load_language_run(run.out), load_image_text_run(options.out)
    assert found.config.text == language.text
    assert found.tokenizer == language.tokenizer
    theirs, ours = load_file(language.weights), load_file(found.weights[0])
    names = [name for name in theirs if name.startswith("text.")]
    assert len(names) > 10
    for name in names:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=0, msg=name)


def test_texts_of_a_file_and_what_cannot_be(store: Store, run: LanguageOptions, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(f"The heart is large in case {number}." for number in range(200)))
    summary = train_language(options_for(tmp_path / "run", texts=file))
    assert summary.texts["train"] + summary.texts["validation"] == 200
    assert train_language(options_for(tmp_path / "run", texts=file)).nothing_to_do
    with pytest.raises(RunError, match="--texts FILE"):
        train_language(options_for(tmp_path / "none"))
    with pytest.raises(EmptyInput, match="99 or more patients"):
        train_language(options_for(tmp_path / "first", store=store.path, minimum_patients=99))
    train_language(options_for(tmp_path / "first", store=store.path, steps=1))  # and nothing refuses the next
    with pytest.raises(RunError, match="cannot be split"):
        train_language(options_for(tmp_path / "none", texts=file, batch_size=2, accumulate=3))
    with pytest.raises(RunError, match="recipe language"):
        load_image_text_run(run.out)
    with pytest.raises(RunError, match="no training run"):
        load_language_run(tmp_path)


def test_other_texts_in_the_same_file_are_not_gone_on_with(tmp_path: Path) -> None:
    """As many texts, and other ones: what was learned is not of them."""
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(f"The heart is large in case {number}." for number in range(200)))

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    options = options_for(tmp_path / "stopped", texts=file, save_every=1)
    with pytest.raises(KeyboardInterrupt):
        train_language(options, stop)
    finished = options_for(tmp_path / "finished", texts=file)
    train_language(finished)
    file.write_text("\n".join(f"The lungs are clear in case {number}." for number in range(200)))
    with pytest.raises(RunError, match="texts"):
        train_language(options)
    with pytest.raises(RunError, match="other texts"):
        train_language(finished)


def test_a_finished_run_says_again_what_it_read(run: LanguageOptions) -> None:
    again = train_language(run)
    assert again.nothing_to_do
    assert set(again.texts) == {"train", "validation", "vocabulary"}
