"""Fetching one large public file: resumed after a stop, whole and verified before it gets its name. Light: no torch.

What came so far lies beside the target as `.NAME.part`, with what the server said of it in `.NAME.part.json`; it is joined with
what follows only if the server says that the file is still the same one, or if a digest will tell.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from vesalius.errors import DownloadFailed, WrongDigest
from vesalius.types import ProgressCallback

CHUNK = 1 << 20
TRIES = 4
"""Broken connections in a row, without a byte more between them, before it gives up."""
TRIES_IN_VAIN = 2
"""The same where nothing has ever come: no network, most likely."""
WAIT_S = 2.0
TIMEOUT_S = 60.0
BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Answers of a server that may answer better a little later."""


@dataclass(frozen=True)
class Digest:
    """What a file must hash to.

    Attributes:
        algorithm: `sha256` or `md5`; the latter tells an accident, not an attack.
        value: In hex.
    """

    algorithm: str
    value: str

    def check(self, path: Path) -> None:
        """Refuses a file of another digest.

        Raises:
            WrongDigest: The message has both.
        """
        got = digest_file(path, self.algorithm)
        if got != self.value.lower():
            raise WrongDigest(f"{path.name.lstrip('.')} has {self.algorithm} {got}; expected {self.value.lower()}")


@dataclass(frozen=True)
class _Part:
    """What is known of a file that is not all there.

    Attributes:
        url: Where it comes from.
        validator: The server's ETag, or the time it was last changed; empty where it says neither.
        total: Bytes of the whole file; 0 where the server does not say.
    """

    url: str
    validator: str = ""
    total: int = 0


def digest_file(path: Path, algorithm: str = "sha256") -> str:
    """Returns the digest of a file in hex, without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def download(url: str, target: Path, digest: Digest | None = None, progress: ProgressCallback | None = None) -> None:
    """Fetches `url` into `target`; a stop leaves what came so far, and the same call goes on from there.

    Args:
        url: http or https.
        target: Gets its name when the file is whole and agrees with `digest`.
        digest: What it must hash to; None: only its length is checked, if the server tells it.
        progress: Called with MB as they come; the total is 0 where the server does not say.

    Raises:
        DownloadFailed: No network, no such file, no room, or the connection broke too often; the message has the next step.
        WrongDigest: The file is another one; what came is thrown away.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadFailed(f"{url} is no http or https address; give one with --url")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with _alone(part):
        _fetch(url, part, digest is not None, progress or _silent)
        if digest is not None:
            try:
                digest.check(part)
            except WrongDigest as error:
                _forget(part)
                raise WrongDigest(
                    f"what {url} sent is not the file that was asked for: {error}; nothing was kept, try another address with --url"
                ) from error
        part.replace(target)
        _forget(part)


def _fetch(url: str, part: Path, will_be_checked: bool, progress: ProgressCallback) -> None:
    failures, reached = 0, -1
    while True:
        try:
            _continue(url, part, will_be_checked, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in BUSY:
                raise DownloadFailed(_refused(url, error.code)) from error
            reason = f"the server answered {error.code}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", "")) or str(error) or type(error).__name__
        except OSError as error:
            raise DownloadFailed(f"cannot write {part}: {error.strerror or error}; check the folder and the disk") from error
        else:
            return
        size = part.stat().st_size if part.exists() else 0
        failures = 0 if size > reached >= 0 else failures + 1
        reached = size
        if failures >= (TRIES if size else TRIES_IN_VAIN):
            raise DownloadFailed(
                f"the download of {url} stopped ({reason}); {size / 1e6:.1f} MB are kept: run the same command again to go on, "
                "name a mirror with --url, or copy the file by hand to where it is looked for"
            )
        time.sleep(WAIT_S * failures)


def _continue(url: str, part: Path, will_be_checked: bool, progress: ProgressCallback) -> None:
    """Reads on from where the part ends, to the end of the file."""
    known = _known(part)
    have = part.stat().st_size if part.exists() else 0
    if known is None or known.url != url or not (known.validator or will_be_checked):
        have = 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "vesalius"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known is not None and known.validator:
            headers["If-Range"] = known.validator
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range begins where the file ends, or beyond
            raise
        error.close()
        if known is not None and have == known.total > 0:
            return
        _forget(part)
        raise ConnectionError("the file has changed on the server; beginning again") from error
    with response:
        start, total = _place(response, have)
        _check_room(part, total - start)
        validator = _validator(response)
        part.with_name(f"{part.name}.json").write_text(json.dumps(asdict(_Part(url, validator, total))), encoding="utf-8")
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            done = _copy(response, file, start, total, progress)
    if total and done != total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _copy(response: Any, file: IO[bytes], done: int, total: int, progress: ProgressCallback) -> int:
    progress(done >> 20, total >> 20)
    while chunk := response.read(CHUNK):
        file.write(chunk)
        done += len(chunk)
        progress(done >> 20, max(total, done) >> 20)
    file.flush()
    os.fsync(file.fileno())
    return done


def _place(response: Any, asked: int) -> tuple[int, int]:
    """Returns where the server's bytes begin and how long the whole file is; 0 where it does not say."""
    length = int(response.headers.get("Content-Length") or 0)
    if response.status != 206:
        return 0, length
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    if start != str(asked):
        raise ConnectionError(f"the server sent bytes from {start or 'nowhere'} where {asked} was asked for")
    return asked, int(total) if total.isdigit() else (asked + length if length else 0)


def _validator(response: Any) -> str:
    tag = str(response.headers.get("ETag") or "")
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified") or "")


def _known(part: Path) -> _Part | None:
    try:
        return _Part(**json.loads(part.with_name(f"{part.name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DownloadFailed(
            f"{needed / 1e9:.1f} GB are still to come and {free / 1e9:.1f} GB are free in {part.parent}; make room or use --to"
        )


def _refused(url: str, code: int) -> str:
    why = {401: "it wants an account", 403: "it refuses", 404: "there is no such file", 410: "the file is gone"}
    return (
        f"{url}: {why.get(code, 'the server refuses')} (HTTP {code}); fetch the file by hand and pass it to "
        "`vesalius bundle import`, or name a mirror with --url"
    )


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Holds the part for one process; two that write one file would spoil it."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    lock = part.with_name(f"{part.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DownloadFailed(f"another vesalius is fetching {part.name[1:-5]} into {part.parent}; wait for it") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _silent(_done: int, _total: int) -> None:
    return None
