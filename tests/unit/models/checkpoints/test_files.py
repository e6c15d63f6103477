"""Tensors come out of every format a checkpoint is published in; anything that could run is refused."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vesalius.errors import CheckpointUnreadable, ValueOutOfRange, WrongDigest
from vesalius.models.checkpoints.files import read_state_dict, read_state_files

STATE = {"module.inner.module.weight": torch.arange(6.0).reshape(2, 3), "module.bias": torch.ones(2, dtype=torch.float16)}
PLAIN = {"inner.module.weight": STATE["module.inner.module.weight"], "bias": STATE["module.bias"]}


def assert_plain(found: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(PLAIN)
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in PLAIN.items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_wrapped_state_with_training_left_overs(tmp_path: Path, wrapper: str) -> None:
    content = {wrapper: STATE, "epoch": 3, "optimizer": {"state": {}}, "args": argparse.Namespace(lr=1e-3, betas=(0.9, 0.95))}
    torch.save(content, tmp_path / "a.pth")
    read = read_state_files(tmp_path / "a.pth")
    assert_plain(read.tensors)
    assert read.left == ("epoch", "optimizer", "args")


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_both_formats_of_torch(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.save(STATE, tmp_path / "a.bin", **options)
    assert_plain(read_state_dict(tmp_path / "a.bin"))


def test_safetensors_by_content_not_by_name(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.bin")
    assert_plain(read_state_dict(tmp_path / "a.bin"))


def test_module_is_taken_off_only_where_every_name_has_it(tmp_path: Path) -> None:
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(mixed, tmp_path / "a.pt")
    assert set(read_state_dict(tmp_path / "a.pt")) == set(mixed)


class Sly:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save({"state_dict": STATE, "extra": Sly(trace)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointUnreadable, match="could run any code"):
        read_state_dict(tmp_path / "a.pt")
    assert not trace.exists()


def test_a_digest_is_held(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pt")
    digest = hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest()
    assert read_state_files(tmp_path / "a.pt", digest.upper()).sha256 == (digest,)
    with pytest.raises(WrongDigest, match=digest):
        read_state_dict(tmp_path / "a.pt", sha256="0" * 64)
    with pytest.raises(WrongDigest, match="2 SHA-256 for 1"):
        read_state_files(tmp_path / "a.pt", [digest, digest])


def test_two_files_of_one_model_and_their_folder(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "one.pt")
    save_file({"b": torch.ones(1)}, tmp_path / "two.safetensors")
    (tmp_path / "vocab.txt").write_text("no tensors")
    files = [tmp_path / "one.pt", tmp_path / "two.safetensors"]
    for found in (read_state_files(files), read_state_files(tmp_path)):
        assert set(found.tensors) == {"a", "b"}
        assert len(found.sha256) == 2
    with pytest.raises(CheckpointUnreadable, match="another file holds too, a first"):
        read_state_files([files[0], files[0]])


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"PK\x03\x04 and then nothing"])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointUnreadable, match=r"a\.pt"):
        read_state_dict(tmp_path / "a.pt")


def test_a_file_cut_short(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(10000)}, tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointUnreadable, match="fetch it again"):
        read_state_dict(tmp_path / "a.pt")


def test_safetensors_cut_short(tmp_path: Path) -> None:
    save_file({"a": torch.ones(100)}, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[:-40])
    with pytest.raises(CheckpointUnreadable, match="fetch it again"):
        read_state_dict(tmp_path / "a.safetensors")


def test_nothing_there_and_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable, match="no checkpoint at"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(CheckpointUnreadable, match="no checkpoint in"):
        read_state_files(tmp_path)
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(CheckpointUnreadable, match="no tensors by name"):
        read_state_dict(tmp_path / "a.pt")


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    torch.save({"good": torch.ones(2), "bad": torch.tensor([1.0, float("nan")])}, tmp_path / "a.pt")
    with pytest.raises(ValueOutOfRange, match="bad;"):
        read_state_dict(tmp_path / "a.pt")
