"""A bundle is written whole or not at all, the same bytes twice, and an audit changes nothing of what answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import make_bundle, make_film
from vesalius.bundle import save as saving
from vesalius.bundle.card import write_card
from vesalius.bundle.load import load
from vesalius.bundle.save import attach_audit, check_free, save_bundle
from vesalius.bundle.verify import verify
from vesalius.errors import BundleChanged, BundleError

AUDIT = {"card.md": b"# tiny, audited\n", "audit/audit.json": b"{}\n", "audit/index.html": b"<html></html>"}


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def test_equal_inputs_give_equal_bytes(locked: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(locked)


def test_nothing_of_the_machine_or_the_clock_is_kept(locked: Path) -> None:
    text = b"".join(content for name, content in contents(locked).items() if not name.endswith(".safetensors")).decode()
    assert str(locked.parent) not in text
    assert str(Path.home()) + "/" not in text
    assert "patient 1" not in text


def test_nothing_is_pickled_or_executable(locked: Path) -> None:
    for path in locked.rglob("*"):
        if path.is_file():
            assert path.suffix in {".json", ".safetensors", ".md"}
            assert not path.stat().st_mode & 0o111
            assert not path.read_bytes().startswith((b"\x80", b"PK"))


def test_a_bundle_that_is_there_is_kept_unless_asked(copied: Path) -> None:
    before = contents(copied)
    with pytest.raises(BundleError, match="--overwrite"):
        make_again(copied)
    assert contents(copied) == before
    make_again(copied, overwrite=True, notices=["changed"])
    assert verify(copied).description["notices"] == ["changed"]


def make_again(path: Path, *, overwrite: bool = False, **changes: object) -> str:
    verified = verify(path)
    weights = [(path / "weights.safetensors").read_bytes()]
    return save_bundle(path, verified.description | changes, weights=weights, statistics={"a": np.zeros(2)}, overwrite=overwrite)


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path, locked: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(BundleError, match="is no bundle"):
            check_free(tmp_path, overwrite=overwrite)
    (tmp_path / "link").symlink_to(locked)
    with pytest.raises(BundleError, match="is no bundle"):
        check_free(tmp_path / "link", overwrite=True)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", overwrite=False)


def test_a_stop_half_way_leaves_what_was_there(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(copied)
    written = []

    def stop(folder: Path, files: dict[str, bytes]) -> None:
        written.append(folder)
        (folder / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(saving, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        make_again(copied, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        attach_audit(copied, AUDIT)
    assert len(written) == 2
    assert contents(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == [copied.name], "no temporary folder is left"


def test_an_audit_changes_nothing_of_what_answers(copied: Path) -> None:
    before, film = load(copied), make_film(7)
    attach_audit(copied, AUDIT)
    after, verified = load(copied), verify(copied)
    assert verified.audited
    assert after.id == before.id
    assert after.predict(film).findings == before.predict(film).findings
    assert {name: contents(copied)[name] for name in AUDIT} == AUDIT


def test_a_second_audit_replaces_the_first(copied: Path) -> None:
    attach_audit(copied, AUDIT)
    attach_audit(copied, {"card.md": b"# second\n", "audit/audit.json": b"[]\n"})
    assert "audit/index.html" not in verify(copied).files
    assert (copied / "card.md").read_text() == "# second\n"


def test_a_changed_audit_is_refused(copied: Path) -> None:
    attach_audit(copied, AUDIT)
    (copied / "audit/audit.json").write_text('{"auroc": 1.0}')
    with pytest.raises(BundleChanged, match=r"audit/audit\.json .* was changed"):
        verify(copied)


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors", "audit/MANIFEST.json", "audit/../bundle.json", "other.txt"])
def test_an_audit_cannot_write_what_answers(copied: Path, name: str) -> None:
    before = contents(copied)
    with pytest.raises(BundleError):
        attach_audit(copied, {"card.md": b"", name: b"changed"})
    assert contents(copied) == before


def test_an_audit_of_a_changed_bundle_is_refused(copied: Path) -> None:
    (copied / "bundle.json").write_text("{}")
    with pytest.raises(BundleChanged):
        attach_audit(copied, AUDIT)


def test_what_json_cannot_hold_is_refused(copied: Path) -> None:
    with pytest.raises(BundleError, match="cannot be kept"):
        make_again(copied, overwrite=True, notices=[float("nan")])
    assert verify(copied)


def test_the_first_card_says_that_nobody_audited(locked: Path) -> None:
    card = (locked / "card.md").read_text()
    description = json.loads((locked / "bundle.json").read_bytes())
    assert "Not audited yet" in card
    assert verify(locked).reference in card
    for row in description["calibration"]:
        assert f"| {row['finding']} | {row['n']} | {row['n_positive']} |" in card
    audited = write_card(description, verify(locked).id, "## Audit\n\nMeasured.\n")
    assert audited.endswith("## Audit\n\nMeasured.\n")
    assert "Not audited yet" not in audited
