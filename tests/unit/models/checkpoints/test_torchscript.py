"""A TorchScript archive gives the tensors that torch.jit.load would, without its program."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from vesalius.errors import CheckpointUnreadable
from vesalius.models.checkpoints.files import read_state_dict
from vesalius.models.checkpoints.torchscript import is_torchscript, read_torchscript


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).half().float())
        self.shared = self.blocks[0].weight
        self.size = 7
        self.register_buffer("resolution", torch.tensor(224))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.blocks(inputs)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Nested().eval()
    model.blocks[2].weight.data = torch.randn(4, 6)[:2, :4]  # a view with strides of its own
    torch.jit.save(torch.jit.trace(model, torch.randn(2, 3)), tmp_path / "a.pt")
    return tmp_path / "a.pt"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_same_tensors_as_torch(archive: Path) -> None:
    assert is_torchscript(archive)
    found, expected = read_torchscript(archive), torch.jit.load(archive).state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
        assert found[name].dtype == value.dtype
    assert set(read_state_dict(archive)) == set(expected)


class Scripted(nn.Module):
    """Lists and dictionaries beside the weights, which a traced module has not."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.sizes: list[int] = [1, 2]
        self.names: dict[str, float] = {"a": 0.5}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.inner(inputs) * self.names["a"] + self.sizes[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The TorchScript type system:UserWarning")
def test_lists_and_dictionaries_beside_the_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Scripted()), tmp_path / "a.pt")
    found, expected = read_torchscript(tmp_path / "a.pt"), torch.jit.load(tmp_path / "a.pt").state_dict()
    assert {name: value.tolist() for name, value in found.items()} == {name: value.tolist() for name, value in expected.items()}


def test_a_plain_file_is_none(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    assert not is_torchscript(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(b"no zip")
    assert not is_torchscript(tmp_path / "b.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("call", [b"cposix\nsystem\n(S'true'\ntR.", b"cbuiltins\neval\n(S'1'\ntR.", b"ctorch.hub\nload\n(tR."])
def test_anything_else_in_it_is_refused(archive: Path, tmp_path: Path, call: bytes) -> None:
    target = tmp_path / "sly.pt"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            changed.writestr(name, call if name.endswith("/data.pkl") else source.read(name))
    with pytest.raises(CheckpointUnreadable, match="could run any code"):
        read_state_dict(target)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_numbers_that_are_missing_or_cut(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "short.pt"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            content = source.read(name)
            changed.writestr(name, content[:-4] if name.endswith("/data/0") else content)
    with pytest.raises(CheckpointUnreadable, match="fetch it again"):
        read_state_dict(target)
