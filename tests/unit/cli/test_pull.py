from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.file_server import Behaviour, serving
from vesalius.cli import EXIT_OK, EXIT_USAGE, main


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")


def test_without_a_name_it_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull"]) == EXIT_OK
    shown = capsys.readouterr().out
    assert "openai-clip-vit-b-32" in shown
    assert "none published" in shown
    assert main(["pull", "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["weights"]


def test_it_fetches_says_what_it_was_held_to_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Behaviour(b"not the real one")) as url:
        command = ["pull", "medclip-swin", "--url", url, "--to", str(tmp_path)]
        assert main(command) == EXIT_OK
        assert "publish no digest" in capsys.readouterr().out
        assert main([*command, "--json"]) == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(tmp_path / "medclip-vit-pretrained.zip")
    assert answer["sha256"] == hashlib.sha256(b"not the real one").hexdigest()
    assert (answer["held_to"], answer["from_cache"], answer["family"]) == ("first download", True, "medclip")


def test_what_went_wrong_is_one_line_and_a_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Behaviour(b"another file")) as url:
        assert main(["pull", "clip-vocabulary", "--url", url, "--to", str(tmp_path), "--json"]) == EXIT_USAGE
    caught = capsys.readouterr()
    assert json.loads(caught.out)["error"]["code"] == "wrong_digest"
    assert len(caught.err.strip().splitlines()) == 1 + caught.err.count("MB,")
    assert not (tmp_path / "bpe_simple_vocab_16e6.txt.gz").exists()


def test_a_model_in_two_files_names_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Behaviour(b"half")) as url:
        assert main(["pull", "biovil-words", "--url", url, "--to", str(tmp_path)]) == EXIT_OK
    shown = capsys.readouterr().out
    assert "its other half: vesalius pull biovil-images" in shown
    assert "cxr-bert-specialized.bin OTHER --family biovil" in shown
