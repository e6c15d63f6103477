"""One film from plan to grey values: patient, lesions, rays, detector, devices, marker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from vesalius.datasets.simulated_radiographs import detector, devices
from vesalius.datasets.simulated_radiographs.anatomy import Anatomy
from vesalius.datasets.simulated_radiographs.findings import (
    CARDIOMEGALY,
    CONSOLIDATION,
    EFFUSION,
    NODULE,
    PNEUMOTHORAX,
    Chest,
    put_in,
)
from vesalius.datasets.simulated_radiographs.patients import Patient, aim, breast_cm, draw_patient, draw_pose, ray_map
from vesalius.datasets.simulated_radiographs.plan import FilmPlan, generator_of
from vesalius.datasets.simulated_radiographs.projection import Geometry, integrate
from vesalius.datasets.simulated_radiographs.sites import SITES

MASK_PX = 128
LEAST_MM = {CARDIOMEGALY: 10.0, EFFUSION: 12.0, PNEUMOTHORAX: 20.0, CONSOLIDATION: 6.0, NODULE: 4.0}
"""How much of a finding a ray must cross for its pixel to count."""


@dataclass(frozen=True)
class Film:
    """A finished film.

    Attributes:
        pixels: Grey values in [0, 1], dense = bright.
        masks: Per finding that was put in, where it projects to, at `MASK_PX`.
        patient: Who.
        spacing_mm: Pixel size in the detector plane.
        source_to_detector_mm: Focal spot to detector.
        shuttered: Whether collimator blades are in the picture.
    """

    pixels: Float32[np.ndarray, "size_px size_px"]
    masks: dict[str, Bool[np.ndarray, "mask mask"]]
    patient: Patient
    spacing_mm: float
    source_to_detector_mm: float
    shuttered: bool


def take_film(anatomy: Anatomy, plan: FilmPlan, size_px: int, seed: int) -> Film:
    """Returns the film of one line of the plan; the same seed gives the same pixels, whatever was taken before."""
    patient = draw_patient(generator_of(seed, plan.site, plan.patient, 0))
    generator = generator_of(seed, plan.site, plan.patient, 1 + plan.film)
    site = SITES[plan.site]
    pose = draw_pose(generator, plan.view, plan.heart)
    lean_deg = float(generator.uniform(0, 5) if plan.view == "PA" else generator.uniform(10, 38))
    chest = Chest(anatomy)
    for lesion in plan.lesions:
        put_in(chest, lesion, lean_deg)
    geometry = aim(anatomy, patient, pose, generator)
    rays = ray_map(anatomy, patient, pose, geometry)
    spacing_mm = geometry.field_mm / (size_px - 1)
    water, bone = _paths(chest, patient, geometry, rays, size_px)
    if generator.random() < site.share_devices:
        bone += devices.draw_devices(size_px, spacing_mm, generator)
    # photons draw from a stream of their own: how many they need hangs on the last bit of the signal
    photons = np.random.default_rng(int(generator.integers(2**63)))
    signal = detector.expose(water, bone, site.detector, spacing_mm, photons)
    pixels = detector.develop(signal, site.detector, spacing_mm, generator)
    covered = devices.draw_shutters(size_px, generator) if generator.random() < site.share_shutters else None
    if covered is not None:
        pixels[covered] = 0.01
    text = site.marker if plan.view == "PA" or site.name == "A" else f"{site.marker} PORT"
    marker = devices.draw_marker(text, size_px, spacing_mm, site.marker == "L", generator)
    pixels = np.maximum(pixels, 0.97 * marker)
    masks = {name: _project(chest, name, geometry, rays) for name in chest.changed}
    return Film(pixels, masks, patient, spacing_mm, geometry.source_to_detector_mm, covered is not None)


def _paths(
    chest: Chest, patient: Patient, geometry: Geometry, rays: Float32[np.ndarray, "along down across 3"], size_px: int
) -> tuple[Float32[np.ndarray, "size_px size_px"], Float32[np.ndarray, "size_px size_px"]]:
    """g/cm² of water and of bone along each ray, the patient's own fat and mineral included."""
    n_steps = _steps(chest, geometry)
    sums = integrate(chest.tissue, rays, size_px, n_steps)
    step = geometry.step_cm(n_steps, size_px).astype(np.float32)
    water, bone = sums[..., 0] * step, sums[..., 1] * step * np.float32(patient.bone)
    water += np.float32(patient.fat_cm * 0.92) * np.clip(water / 4, 0, 1)
    water += np.float32(0.95) * breast_cm(patient, geometry, size_px)
    return water, bone


def _steps(chest: Chest, geometry: Geometry) -> int:
    """Steps of two voxels, 4 mm on the usual grid: finer than a rib is thick."""
    return round((geometry.to_y_mm - geometry.from_y_mm) / (2 * chest.anatomy.spacing_mm[0]))


def _project(
    chest: Chest, finding: str, geometry: Geometry, rays: Float32[np.ndarray, "along down across 3"]
) -> Bool[np.ndarray, "mask mask"]:
    """Where rays cross enough of a finding."""
    n_steps = _steps(chest, geometry)
    path_mm = np.zeros((MASK_PX, MASK_PX), np.float32)
    for box, share in chest.changed[finding]:
        start = np.array([part.start for part in box], np.float32)
        # a rim of nothing: what lies in the box's outermost voxels must not go on beyond it, as the body does
        closed = np.pad(share, 1)[..., None]
        inside = rays - start + np.float32(1)
        path_mm += integrate(closed, inside, MASK_PX, n_steps)[..., 0]
    path_mm *= 10 * geometry.step_cm(n_steps, MASK_PX).astype(np.float32)
    return path_mm >= LEAST_MM[finding]
