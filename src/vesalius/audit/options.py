"""What an audit is asked for. Light: the command line reads it before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vesalius.audit.gates import Gate

SUBGROUPS = ("sex", "age_band", "view_position", "portable", "site")
"""The groups an audit looks at unless told otherwise."""
SLIDE_SUBGROUPS = ("site", "scanner", "sex", "age_band")
"""The same of slides, each where the CSV has it."""


@dataclass(frozen=True)
class AuditOptions:
    """The settings of one audit.

    Attributes:
        by: Manifest columns to split films by; `age_band` is made from `age_years`. A column the store lacks is reported as absent.
        resamples: Bootstrap resamples of patients behind every interval.
        seed: Of the bootstrap, the null distribution of ECE and the foreign images. Same seed, same numbers.
        gates: Rules that the figures must meet.
        images: Put a small gallery of films into the HTML. Off unless asked for: films may be private and a report gets mailed.
        notices: Sentences that stand on top of the report, beside those of the bundle.
        foreign_films: At most so many test films are turned into each kind of foreign image.
        store_name: What the report calls the store; its folder's name if empty.
    """

    by: tuple[str, ...] = SUBGROUPS
    resamples: int = 1000
    seed: int = 0
    gates: tuple[Gate, ...] = field(default=())
    images: bool = False
    notices: tuple[str, ...] = ()
    foreign_films: int = 100
    store_name: str = ""
