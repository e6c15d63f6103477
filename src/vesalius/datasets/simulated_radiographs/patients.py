"""Virtual patients: each a smooth deformation of the one chest, and a pose in front of the detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from vesalius.datasets.simulated_radiographs.anatomy import Anatomy
from vesalius.datasets.simulated_radiographs.girdle import MIDLINE_X_MM
from vesalius.datasets.simulated_radiographs.projection import MAP_NODES, Geometry, to_voxels

Frontal = Literal["PA", "AP"]
BEND_NODES = 5
"""Control points of the random deformation along each axis."""


@dataclass(frozen=True)
class Patient:
    """What stays the same from film to film.

    Attributes:
        sex: "F" or "M".
        age_years: At the first film.
        scale: Size against the CT (z, y, x).
        bend_mm: Displacement at (5, 5, 5) control points, (z, y, x) each.
        bone: Mineral against the CT's patient, 1 = equal; falls with age.
        fat_cm: Soft tissue beyond the CT's, in front and behind together.
        breast: (radius in mm, thickness in cm, height of the centre in mm); None for a flat chest.
    """

    sex: Literal["F", "M"]
    age_years: int
    scale: tuple[float, float, float]
    bend_mm: Float32[np.ndarray, "5 5 5 3"]
    bone: float
    fat_cm: float
    breast: tuple[float, float, float] | None


@dataclass(frozen=True)
class Pose:
    """How the patient stood or lay for one film.

    Attributes:
        view: Direction of the beam.
        turn_rad: About the x, y and z axis: nodding, leaning sideways, rotated to the detector.
        breath_mm: How far the diaphragm lies above (+) its place in the CT.
        heart: Size of the heart against the CT, 1 = equal.
    """

    view: Frontal
    turn_rad: tuple[float, float, float]
    breath_mm: float
    heart: float


def draw_patient(generator: np.random.Generator) -> Patient:
    """Returns one virtual patient."""
    sex: Literal["F", "M"] = "F" if generator.random() < 0.47 else "M"
    age = int(np.clip(generator.normal(61, 16), 19, 94))
    size = generator.normal(0.975 if sex == "F" else 1.015, 0.025)
    scale = np.clip(size + generator.normal(0, 0.025, 3), 0.9, 1.09) * (1.07, 1.0, 1.03)
    bend = generator.normal(0, 1, (BEND_NODES,) * 3 + (3,)).astype(np.float32) * generator.uniform(4, 8)
    breast = None
    if sex == "F":
        breast = (float(generator.uniform(55, 78)), float(generator.uniform(0.8, 4.0)), float(generator.uniform(-80, -40)))
    return Patient(
        sex=sex,
        age_years=age,
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        bend_mm=bend,
        bone=float(np.clip(generator.normal(1.12 - 0.004 * (age - 50), 0.1), 0.75, 1.4)),
        fat_cm=float(np.clip(generator.gamma(2.0, 1.1), 0, 7)),
        breast=breast,
    )


def draw_pose(generator: np.random.Generator, view: Frontal, heart: float) -> Pose:
    """Returns one pose: upright and turned little for PA; sitting or lying, turned more and breathing in less for AP."""
    spread = np.array((2.0, 1.5, 2.5) if view == "PA" else (5.0, 3.0, 4.5))
    turn = np.clip(generator.normal(0, 1, 3), -2, 2) * np.radians(spread)
    breath = generator.uniform(-20, 2) if view == "PA" else generator.uniform(-6, 16)
    return Pose(view, (float(turn[0]), float(turn[1]), float(turn[2])), float(breath), heart)


def aim(anatomy: Anatomy, patient: Patient, pose: Pose, generator: np.random.Generator) -> Geometry:
    """Returns tube and detector: PA at 1800 mm with the detector before the chest, portable AP near 1000 mm with it behind."""
    half_z, half_y, _ = (half * scale for half, scale in zip(anatomy.lungs_mm, patient.scale, strict=True))
    front, back = half_y + 45, -half_y - 70
    if pose.view == "PA":
        distance, detector, source = 1800.0, front + 20, front + 20 - 1800.0
    else:
        distance = float(generator.uniform(950, 1150))
        detector, source = back - 30, back - 30 + distance
    magnification = distance / abs(source)
    field = float(generator.uniform(345, 385)) if pose.view == "PA" else float(generator.uniform(350, 390))
    apex_gap = generator.uniform(22, 42)
    centre_z = half_z * magnification + apex_gap - field / 2
    centre_x = float(generator.normal(0, 5 if pose.view == "PA" else 10))
    beam_z = centre_z + float(generator.normal(0, 15)) + (0 if pose.view == "PA" else 25)
    return Geometry((beam_z, source, centre_x * 0.5), detector, (centre_z, centre_x), field, back - 20, front + 15)


def ray_map(anatomy: Anatomy, patient: Patient, pose: Pose, geometry: Geometry) -> Float32[np.ndarray, "along down across 3"]:
    """Returns the voxel coordinates that the coarse lattice of rays meets in this patient."""
    points = geometry.points(*MAP_NODES) @ _rotation(pose.turn_rad).T
    points = points / np.array(patient.scale)
    points = points + _bend(anatomy, patient, points)
    points = _breathe(anatomy, pose.breath_mm, points)
    points = _swell_heart(anatomy, pose.heart, points)
    return to_voxels(anatomy, points)


def breast_cm(patient: Patient, geometry: Geometry, size_px: int) -> Float32[np.ndarray, "size_px size_px"]:
    """Returns the soft tissue of the breasts along each ray: rounded below, fading upwards; zero for a flat chest."""
    if patient.breast is None:
        return np.zeros((size_px, size_px), np.float32)
    radius, thickness, height = patient.breast
    points = geometry.points(2, size_px, size_px)[1]  # in the plane before the chest
    across = np.abs(points[..., 2] - MIDLINE_X_MM) - 0.98 * radius - 10
    down = height - points[..., 0]
    inside = np.clip(1 - (across / radius) ** 2 - (down / np.where(down > 0, 0.8 * radius, 1.35 * radius)) ** 2, 0, 1)
    fading = np.where(down > 0, 1, 1 - np.clip(-down / (1.35 * radius), 0, 1))
    thick: Float32[np.ndarray, "size_px size_px"] = (thickness * inside**0.75 * fading).astype(np.float32)
    return thick


def _rotation(turn_rad: tuple[float, float, float]) -> Float[np.ndarray, "3 3"]:
    """About x, then y, then z, in the order (z, y, x) of the coordinates."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(turn_rad), np.sin(turn_rad)
    about_x = np.array([[cx, sx, 0], [-sx, cx, 0], [0, 0, 1]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[1, 0, 0], [0, cz, sz], [0, -sz, cz]])
    turned: Float[np.ndarray, "3 3"] = about_z @ about_y @ about_x
    return turned


def _bend(anatomy: Anatomy, patient: Patient, points: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Cubic interpolation of the control points; sideways it spares the spine, which would look scoliotic."""
    extent = np.array([1.5, 1.6, 1.5]) * anatomy.lungs_mm
    at = np.moveaxis((points / extent + 1) / 2 * (BEND_NODES - 1), -1, 0)
    moved = np.stack([ndimage.map_coordinates(patient.bend_mm[..., k], at, order=3, mode="nearest") for k in range(3)], axis=-1)
    moved[..., 2] *= 1 - 0.75 * np.exp(-((points[..., 2] / 50) ** 2))
    return moved


def _breathe(anatomy: Anatomy, breath_mm: float, points: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Moves the diaphragm by stretching the chest below its upper third."""
    half = anatomy.lungs_mm[0]
    share = np.clip((half * 0.35 - points[..., 0]) / (half * 1.05), 0, 1)
    moved = points.copy()
    moved[..., 0] -= breath_mm * share * share * (3 - 2 * share)
    return moved


def _swell_heart(anatomy: Anatomy, heart: float, points: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Enlarges what lies around the heart's centre: fully across, by three quarters in height, by half in depth."""
    offset = points - np.array(anatomy.heart_mm)
    radius = np.sqrt(((offset / np.array([75.0, 70.0, 85.0])) ** 2).sum(-1))
    near = np.exp(-(radius**4))[..., None]
    shrink = 1 / (1 + (heart - 1) * np.array([0.75, 0.5, 1.0])) - 1
    swollen: Float[np.ndarray, "... 3"] = points + near * shrink * offset
    return swollen
