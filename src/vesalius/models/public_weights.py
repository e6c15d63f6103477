"""Public weights by name: where they lie, what they hash to, whose they are. The table is `public_weights.json`. Light: no torch.

An address stands here as the authors' own code has it, or puts it together from the model's name. Where they publish a digest the
file is held to it; where they do not, the table says so, and the SHA-256 of the first download is kept beside the file, so that it
cannot change unseen afterwards.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from vesalius.errors import DownloadFailed, WrongDigest
from vesalius.models.download import Digest, digest_file, download
from vesalius.types import ProgressCallback


@dataclass(frozen=True)
class PublicWeights:
    """One line of the table.

    Attributes:
        name: What `vesalius pull` calls it.
        file: Its name in the cache.
        family: For `vesalius bundle import --family`; None for a vocabulary, or where no family reads it.
        what: In words.
        url: Where the authors' code fetches it.
        sha256: As published; None where it is not.
        md5: As published; None where it is not.
        licence: As far as known.
        tokenizer: Name of the vocabulary that belongs to it.
        beside: Name of the other file of a model in two.
    """

    name: str
    file: str
    family: str | None
    what: str
    url: str
    sha256: str | None
    md5: str | None
    licence: str
    tokenizer: str | None
    beside: str | None = None

    @property
    def digest(self) -> Digest | None:
        """What the file must hash to; None where nothing is published."""
        if self.sha256 is not None:
            return Digest("sha256", self.sha256)
        return None if self.md5 is None else Digest("md5", self.md5)


@dataclass(frozen=True)
class Pulled:
    """A public file that is here.

    Attributes:
        weights: Its line of the table.
        path: Where it lies.
        sha256: Of what lies there.
        held_to: What it was compared with: `sha256` or `md5` as published or given, `first download`, or `nothing`.
        from_cache: Was it there already?
    """

    weights: PublicWeights
    path: Path
    sha256: str
    held_to: str
    from_cache: bool


def public_weights() -> tuple[PublicWeights, ...]:
    """Returns the whole table."""
    text = files("vesalius.models").joinpath("public_weights.json").read_text(encoding="utf-8")
    return tuple(PublicWeights(**line) for line in json.loads(text))


def cache_folder() -> Path:
    """Returns where public files are kept: `vesalius/weights` in XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "vesalius" / "weights"


def pull(
    name: str,
    *,
    to: Path | None = None,
    url: str | None = None,
    sha256: str | None = None,
    progress: ProgressCallback | None = None,
) -> Pulled:
    """Returns a public file, from the cache if it is there and whole, else from the network.

    Args:
        name: Of the table.
        to: A folder; the cache unless given.
        url: A mirror of it; with one, `name` may be of no line of the table.
        sha256: What it must hash to, beside what the table says.
        progress: Called with MB as they come.

    Raises:
        DownloadFailed: No such name, no network, or the connection broke too often; the message has the next step.
        WrongDigest: The file, here or there, is not the one that was asked for.
    """
    weights = _find(name, url)
    digest = _expected(weights, sha256)
    path = (to or cache_folder()) / weights.file
    noted = path.with_name(f"{path.name}.sha256")
    here = path.is_file()
    if not here:
        download(url or weights.url, path, digest, progress)
    got = digest_file(path)
    first = noted.read_text(encoding="utf-8").split()[:1] if here and noted.is_file() else []
    held_to = "nothing" if digest is None else digest.algorithm
    if here:
        _check_cached(path, got, digest, first)
        held_to = "first download" if digest is None and first else held_to
    noted.write_text(f"{got}  {path.name}\n", encoding="utf-8")
    return Pulled(weights, path, got, held_to, here)


def _find(name: str, url: str | None) -> PublicWeights:
    table = {weights.name: weights for weights in public_weights()}
    if name in table:
        return table[name]
    if url is None:
        raise DownloadFailed(f"no public weights are called {name!r}; there are: {', '.join(table)}; or give an address with --url")
    file = Path(urlsplit(url).path).name or name
    return PublicWeights(name, file, None, "named on the command line", url, None, None, "see its page", None)


def _expected(weights: PublicWeights, sha256: str | None) -> Digest | None:
    if sha256 is None:
        return weights.digest
    given = sha256.lower()
    if len(given) != 64 or set(given) - set("0123456789abcdef"):
        raise WrongDigest(f"--sha256 {sha256} is no SHA-256; expected 64 hex digits")
    if weights.sha256 is not None and weights.sha256 != given:
        raise WrongDigest(f"--sha256 {given} is not what {weights.name} is published with, {weights.sha256}; leave one of them out")
    return Digest("sha256", given)


def _check_cached(path: Path, got: str, digest: Digest | None, first: list[str]) -> None:
    remedy = f"delete {path} and pull again"
    if digest is not None:
        try:
            digest.check(path)
        except WrongDigest as error:
            raise WrongDigest(f"{error}; {remedy}") from error
    elif first and first != [got]:
        raise WrongDigest(f"{path.name} has sha256 {got}; at its first download it had {first[0]}: {remedy}")
