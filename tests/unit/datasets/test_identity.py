from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

import pytest

from vesalius.datasets.identity import PatientKey, default_key_file, load_key
from vesalius.errors import StoreError

KEY = PatientKey(bytes(range(32)))


def test_a_hash_is_the_start_of_hmac_sha256_with_the_kind_before_the_value() -> None:
    expected = hmac.new(bytes(range(32)), b"patient\x001234", hashlib.sha256).hexdigest()[:16]
    assert KEY.hash("patient", "1234") == expected
    assert KEY.hash("patient", " 1234 ") == expected, "DICOM pads with blanks"
    assert (
        len(
            {KEY.hash("patient", "1"), KEY.hash("study", "1"), KEY.hash("patient", "2"), PatientKey(bytes(32)).hash("patient", "1")}
        )
        == 4
    )


def test_a_key_never_shows() -> None:
    assert "\\x01" not in repr(KEY)
    assert KEY.check not in (KEY.secret.hex(), KEY.secret.hex()[:16])


def test_the_users_key_is_made_once_and_for_its_owner_alone() -> None:
    first = load_key()
    file = default_key_file()
    assert file == Path(os.environ["XDG_CONFIG_HOME"]) / "vesalius" / "patient-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 32
    assert load_key().secret == first.secret == file.read_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["patient-key"]


def test_a_key_file_of_the_users_choice(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    assert load_key(tmp_path / "key").secret == b"0123456789abcdef"
    assert not default_key_file().exists()
    (tmp_path / "short").write_bytes(b"secret")
    with pytest.raises(StoreError, match=r"6 bytes, at least 16.*urandom"):
        load_key(tmp_path / "short")
    with pytest.raises(StoreError, match="cannot be read"):
        load_key(tmp_path / "none")
