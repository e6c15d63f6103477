from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.file_server import Behaviour, serving
from vesalius.errors import DownloadFailed, WrongDigest
from vesalius.models import download as downloads
from vesalius.models import public_weights as table
from vesalius.models.download import Digest, download
from vesalius.models.public_weights import PublicWeights, pull

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RIGHT = Digest("sha256", SHA256)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(downloads, "WAIT_S", 0.0)
    monkeypatch.setattr(downloads, "CHUNK", 4096)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_gets_its_name_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with serving(Behaviour(CONTENT)) as url:
        download(url, tmp_path / "f" / "w.bin", RIGHT, lambda done, total: seen.append((done, total)))
    assert (tmp_path / "f" / "w.bin").read_bytes() == CONTENT
    assert left_over(tmp_path / "f") == ["w.bin"]
    assert len(seen) > 10


def test_a_broken_connection_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    server = Behaviour(CONTENT, cut_after=[100_000, 50_000])
    with serving(server) as url:
        download(url, tmp_path / "w.bin", RIGHT)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    assert server.seen == [None, "bytes=100000-", "bytes=150000-"]


def test_after_a_stop_the_next_call_goes_on(tmp_path: Path) -> None:
    server = Behaviour(CONTENT, cut_after=[120_000, 0, 0, 0, 0])
    with serving(server) as url:
        with pytest.raises(DownloadFailed, match=r"0\.1 MB are kept: run the same command again"):
            download(url, tmp_path / "w.bin", RIGHT)
        assert not (tmp_path / "w.bin").exists()
        server.cut_after, server.seen = [], []
        download(url, tmp_path / "w.bin", RIGHT)
    assert server.seen == ["bytes=120000-"]
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_without_ranges_it_begins_again(tmp_path: Path) -> None:
    server = Behaviour(CONTENT, cut_after=[100_000], ranges=False)
    with serving(server) as url:
        download(url, tmp_path / "w.bin", RIGHT)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT
    assert len(server.seen) == 2


def test_a_file_that_changed_on_the_server_is_never_joined_with_the_old_one(tmp_path: Path) -> None:
    server = Behaviour(b"old" * 100_000, cut_after=[100_000, 0, 0, 0, 0], etag='"old"')
    with serving(server) as url:
        with pytest.raises(DownloadFailed):
            download(url, tmp_path / "w.bin")
        server.content, server.etag, server.cut_after = CONTENT, '"new"', []
        download(url, tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_with_neither_validator_nor_digest_it_begins_again(tmp_path: Path) -> None:
    server = Behaviour(CONTENT, cut_after=[100_000], etag="")
    with serving(server) as url:
        download(url, tmp_path / "w.bin")
    assert server.seen == [None, None]
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_kept(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        (tmp_path / ".w.bin.part").write_bytes(CONTENT)
        about = {"url": url, "validator": '"one"', "total": len(CONTENT)}
        (tmp_path / ".w.bin.part.json").write_text(json.dumps(about))
        download(url, tmp_path / "w.bin", RIGHT)
    assert left_over(tmp_path) == ["w.bin"]


def test_a_wrong_file_gets_no_name_and_is_thrown_away(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT[:-1] + b"x")) as url, pytest.raises(WrongDigest, match=SHA256):
        download(url, tmp_path / "w.bin", RIGHT)
    assert left_over(tmp_path) == []


def test_md5_is_held_to_where_it_is_all_there_is(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        download(url, tmp_path / "a.bin", Digest("md5", hashlib.md5(CONTENT).hexdigest()))
        with pytest.raises(WrongDigest, match="md5"):
            download(url, tmp_path / "b.bin", Digest("md5", "0" * 32))
    assert left_over(tmp_path) == ["a.bin"]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(tmp_path: Path) -> None:
    server = Behaviour(CONTENT, statuses=[503])
    with serving(server) as url:
        download(url, tmp_path / "w.bin", RIGHT)
    assert len(server.seen) == 2
    server = Behaviour(CONTENT, statuses=[404])
    with serving(server) as url, pytest.raises(DownloadFailed, match=r"no such file.*404.*--url"):
        download(url, tmp_path / "v.bin")
    assert len(server.seen) == 1


def test_no_network_is_said_soon(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        pass  # nobody listens there now
    with pytest.raises(DownloadFailed, match="copy the file by hand"):
        download(url, tmp_path / "w.bin")


def test_other_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="no http or https"):
        download((tmp_path / "x").as_uri(), tmp_path / "w.bin")


def test_two_at_once_do_not_share_a_part(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".w.bin.part.lock").open("w") as file, serving(Behaviour(CONTENT)) as url:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DownloadFailed, match=r"another vesalius is fetching w\.bin "):
            download(url, tmp_path / "w.bin")


def test_no_room_is_said_before_a_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with serving(Behaviour(CONTENT)) as url, pytest.raises(DownloadFailed, match="make room or use --to"):
        download(url, tmp_path / "w.bin")
    assert not (tmp_path / ".w.bin.part").exists()


@pytest.fixture
def one_line(monkeypatch: pytest.MonkeyPatch) -> PublicWeights:
    line = PublicWeights("tiny", "tiny.bin", "chexzero", "for a test", "http://127.0.0.1:9/tiny.bin", SHA256, None, "MIT", None)
    monkeypatch.setattr(table, "public_weights", lambda: (line,))
    return line


def test_what_is_in_the_cache_needs_no_network(one_line: PublicWeights, tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        first = pull("tiny", url=url)
    second = pull("tiny")  # its own address leads nowhere
    assert (first.from_cache, second.from_cache) == (False, True)
    assert first.path == second.path == tmp_path / "cache" / "vesalius" / "weights" / one_line.file
    assert second.held_to == "sha256"
    assert second.sha256 == SHA256


def test_a_cached_file_that_changed_is_refused(one_line: PublicWeights) -> None:
    with serving(Behaviour(CONTENT)) as url:
        path = pull("tiny", url=url).path
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(WrongDigest, match=r"delete .* and pull again"):
        pull("tiny")


def test_where_nothing_is_published_the_first_download_is_what_counts(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        first = pull("mine", url=url, to=tmp_path)
    again = pull("mine", url=url, to=tmp_path)
    assert (first.held_to, again.held_to) == ("nothing", "first download")
    assert (tmp_path / "weights.bin.sha256").read_text() == f"{SHA256}  weights.bin\n"
    first.path.write_bytes(b"another")
    with pytest.raises(WrongDigest, match="at its first download"):
        pull("mine", url=url, to=tmp_path)


def test_a_given_digest_holds_and_must_not_contradict_the_table(one_line: PublicWeights, tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        assert pull("mine", url=url, to=tmp_path, sha256=SHA256.upper()).held_to == "sha256"
        with pytest.raises(WrongDigest, match="is not what tiny is published with"):
            pull("tiny", url=url, sha256="0" * 64)
        with pytest.raises(WrongDigest, match="64 hex digits"):
            pull("tiny", url=url, sha256="abc")


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(DownloadFailed, match="clip-vocabulary"):
        pull("resnet")


def test_the_table_holds_together() -> None:
    lines = table.public_weights()
    names = {line.name for line in lines}
    assert len(names) == len({line.file for line in lines}) == len(lines)
    for line in lines:
        assert line.url.startswith("https://")
        assert {line.tokenizer, line.beside} <= names | {None}
        assert line.family is None or line.tokenizer is not None
        assert line.sha256 is None or (len(line.sha256) == 64 and line.sha256 == line.sha256.lower())
        assert line.md5 is None or len(line.md5) == 32
        assert line.licence
    clip = [line for line in lines if line.family == "openai-clip"]
    assert clip
    assert all(line.url.split("/")[-2] == line.sha256 for line in clip)  # their address is their digest
