"""`vesalius pull`: public weights by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vesalius.cli import EXIT_OK
from vesalius.cli.console import Console

if TYPE_CHECKING:
    from vesalius.models.public_weights import Pulled


@dataclass(frozen=True)
class Command:
    """Public weights and vocabularies by name, into a cache; without a name, a table of what there is.

    Stopped? The same command goes on where it was. A file gets its name only when it is whole and hashes to what its authors
    publish; where they publish nothing, that is said, and its SHA-256 is kept so that it cannot change unseen. What is in the
    cache needs no network.

        vesalius pull                                         # what there is
        vesalius pull openai-clip-vit-b-32
        vesalius pull clip-vocabulary --to weights
        vesalius pull medclip-swin --url https://mirror.example.org/medclip-vit-pretrained.zip --sha256 HEX
    """

    name: tyro.conf.Positional[str] = ""
    """of the table; none shows the table"""
    to: Path | None = None
    """a folder for the file; the cache ($XDG_CACHE_HOME/vesalius/weights) unless given"""
    url: str | None = None
    """a mirror to fetch it from"""
    sha256: str | None = None
    """what the file must hash to, 64 hex digits"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Fetches, or shows the table, and returns the exit code."""
        from vesalius.models.public_weights import public_weights, pull

        console = Console(json=self.json)
        if not self.name:
            rows = [(line.name, line.what, _published(line.sha256, line.md5), line.licence) for line in public_weights()]
            console.table("public weights", ("name", "what", "digest", "licence"), rows)
            console.result({"weights": [asdict(line) for line in public_weights()]})
            return EXIT_OK
        with console.progress(f"pull {self.name}", unit="MB") as progress:
            pulled = pull(self.name, to=self.to, url=self.url, sha256=self.sha256, progress=progress)
        show(console, pulled)
        about = {"path": str(pulled.path), "sha256": pulled.sha256, "held_to": pulled.held_to, "from_cache": pulled.from_cache}
        console.result({"name": self.name, "family": pulled.weights.family, "licence": pulled.weights.licence, **about})
        return EXIT_OK


def show(console: Console, pulled: Pulled) -> None:
    """Says what came, what it was held to, and what to do with it."""
    weights = pulled.weights
    console.say(f"{pulled.path}   {'from the cache' if pulled.from_cache else 'fetched'}")
    console.say(f"SHA-256 {pulled.sha256}")
    words = {
        "sha256": "agrees with its SHA-256",
        "md5": "agrees with its published MD5, which tells an accident and no attack",
        "first download": "agrees with its first download; its authors publish no digest",
        "nothing": "its authors publish no digest: compare the one above with one that came another way, and give it with --sha256",
    }
    console.say(f"{words[pulled.held_to]}; licence: {weights.licence}")
    if weights.family is None:
        return
    if weights.tokenizer is not None:
        console.say(f"its tokenizer: vesalius pull {weights.tokenizer}")
    if weights.beside is not None:
        console.say(f"its other half: vesalius pull {weights.beside}")
    files = f"{pulled.path}{'' if weights.beside is None else ' OTHER'}"
    console.say(f"next: vesalius bundle import {files} --family {weights.family} --tokenizer FILE --out BUNDLE")


def _published(sha256: str | None, md5: str | None) -> str:
    return "SHA-256" if sha256 else "MD5" if md5 else "none published"
