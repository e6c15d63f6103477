"""Who a patient is, without saying who: keyed hashes in place of names and numbers.

Source: HMAC-SHA-256, RFC 2104 and FIPS 198-1, with a word for each kind of identity so that a patient number and a study
number that happen to be equal do not become the same hash. Without the key nobody can go back by trying all numbers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from vesalius.errors import StoreError

KEY_BYTES = 32
SHORTEST_KEY_BYTES = 16
HEX_DIGITS = 16


@dataclass(frozen=True)
class PatientKey:
    """The secret behind the hashes of one store; the same key gives a patient the same hash in every store."""

    secret: bytes = field(repr=False)

    def hash(self, kind: str, value: str) -> str:
        """Returns 16 hex digits for an identity of a `kind`: patient, study, series, instance."""
        return hmac.new(self.secret, f"{kind}\0{value.strip()}".encode(), hashlib.sha256).hexdigest()[:HEX_DIGITS]

    @property
    def check(self) -> str:
        """Tells two keys apart and gives neither away."""
        return self.hash("key", "check")


def default_key_file() -> Path:
    """Returns where the key of this user lives: `~/.config/vesalius/patient-key`, or below XDG_CONFIG_HOME."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "vesalius" / "patient-key"


def load_key(path: Path | None = None) -> PatientKey:
    """Reads the key in a file; the user's own key is made when it is first asked for.

    Args:
        path: A file whose bytes are the key; None for `default_key_file`.

    Raises:
        StoreError: The file is missing, cannot be read, or is too short to be a secret.
    """
    chosen = default_key_file() if path is None else path
    if path is None and not chosen.exists():
        _make(chosen)
    try:
        secret = chosen.read_bytes()
    except OSError as error:
        raise StoreError(f"the patient key {chosen} cannot be read; give a file of {KEY_BYTES} random bytes") from error
    if len(secret) < SHORTEST_KEY_BYTES:
        raise StoreError(
            f"the patient key {chosen} has {len(secret)} bytes, at least {SHORTEST_KEY_BYTES} are needed; "
            f"make one with: head -c {KEY_BYTES} /dev/urandom > {chosen}"
        )
    return PatientKey(secret)


def _make(path: Path) -> None:
    """Writes a new key that only its owner can read; of two processes that make one, the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123  (a descriptor)
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(unfinished, path)  # unlike a rename, this fails where a key is there already
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
