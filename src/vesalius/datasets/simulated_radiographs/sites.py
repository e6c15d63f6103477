"""The two places where the simulated films are taken."""

from __future__ import annotations

from dataclasses import dataclass

from vesalius.datasets.simulated_radiographs.detector import Detector


@dataclass(frozen=True)
class Site:
    """One hospital: its machine, its habits, its files.

    Attributes:
        name: "A" or "B".
        detector: Physics and grey-scale processing of its films.
        share_pa: Share of upright PA films; the others are portable AP.
        share_devices: Share of films with leads or tubes.
        share_shutters: Share of films with a visible collimation.
        marker: The letter burned in: over the patient's left or right shoulder.
        share_inverted: Share of films stored as MONOCHROME1.
        bits: BitsStored of its files.
        manufacturer: Never a real one.
        station: Station name of the PA and of the portable machine.
        kvp: Tube voltage for PA and AP.
    """

    name: str
    detector: Detector
    share_pa: float
    share_devices: float
    share_shutters: float
    marker: str
    share_inverted: float
    bits: int
    manufacturer: str
    station: tuple[str, str]
    kvp: tuple[int, int]


SITES = {
    "A": Site(
        name="A",
        detector=Detector((0.2, 0.3, 0.35, 0.15), 0.25, 2500.0, 0.25, 0.5, 1.1, 6.3, -0.25),
        share_pa=0.75,
        share_devices=0.2,
        share_shutters=0.15,
        marker="L",
        share_inverted=0.0,
        bits=12,
        manufacturer="Simulated Alpha",
        station=("SIM-A-PA", "SIM-A-PORT"),
        kvp=(125, 100),
    ),
    "B": Site(
        name="B",
        detector=Detector((0.4, 0.35, 0.2, 0.05), 0.9, 450.0, 0.7, 0.3, 0.9, 5.5, 0.0),
        share_pa=0.25,
        share_devices=0.7,
        share_shutters=0.5,
        marker="R",
        share_inverted=0.6,
        bits=14,
        manufacturer="Simulated Beta",
        station=("SIM-B-PA", "SIM-B-PORT"),
        kvp=(100, 85),
    ),
}
