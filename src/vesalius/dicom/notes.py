"""What was done to a film, and what a user should know of it, as it is read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Notes:
    """Collected while a film is read. Words of our own and numbers only: no text of a header ever enters."""

    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def step(self, what: str) -> None:
        """Adds one step of the provenance."""
        self.steps.append(what)

    def warn(self, what: str) -> None:
        """Adds one warning."""
        self.warnings.append(what)
