"""`vesalius bundle verify`: is it the bundle it says it is?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from vesalius.cli import EXIT_OK
from vesalius.cli.console import Console


@dataclass(frozen=True)
class Command:
    """Is it the bundle it says it is? Checks every file against its SHA-256, and that none is missing or extra.

    Exit code 0: intact. Exit code 2: changed, missing, extra or no bundle; the message names the file.

        vesalius bundle verify bundles/cxr
    """

    bundle: tyro.conf.Positional[Path]
    """the bundle's folder"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Verifies and returns the exit code."""
        from vesalius.bundle.verify import verify

        console = Console(json=self.json)
        verified = verify(self.bundle)
        state = "audited" if verified.audited else "not audited yet"
        console.say(f"intact: {verified.reference}, {len(verified.files)} files, {state}")
        console.say(f"id: {verified.id}")
        console.result(
            {
                "intact": True,
                "name": verified.description["name"],
                "id": verified.id,
                "files": list(verified.files),
                "audited": verified.audited,
            }
        )
        return EXIT_OK
