"""From path lengths to a film: polyenergetic attenuation, scatter, photons, blur, and the maker's grey-scale processing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage, sparse

ENERGIES_KEV = (50, 60, 80, 100)
WATER_CM2_G = np.array([0.2269, 0.2059, 0.1837, 0.1707])
BONE_CM2_G = np.array([0.4242, 0.3148, 0.2229, 0.1855])
"""Mass attenuation coefficients at `ENERGIES_KEV`.

Source: NIST tables (Hubbell and Seltzer 1995), liquid water and ICRU-44 cortical bone.
"""

Film = Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class Detector:
    """What makes the films of one room alike.

    Attributes:
        spectrum: Share of the detected energy at each of `ENERGIES_KEV`.
        scatter: Scattered against primary radiation, after the grid.
        photons: Detected photons a pixel of 1 mm² in the densest tenth of the film.
        blur_mm: Standard deviation of the point spread.
        latitude: How much of the slow brightness changes is kept, 0 to 1.
        edge: How much fine detail is raised.
        contrast: Slope of the display curve.
        brightness: Shift of the display curve; higher = lighter.
    """

    spectrum: tuple[float, float, float, float]
    scatter: float
    photons: float
    blur_mm: float
    latitude: float
    edge: float
    contrast: float
    brightness: float


def expose(
    water: Film, bone: Film, detector: Detector, spacing_mm: float, generator: np.random.Generator
) -> Float32[np.ndarray, "height width"]:
    """Returns the detected signal, 1 = unattenuated, from g/cm² of water and bone along each ray."""
    signal = np.zeros(water.shape, np.float32)
    for share, of_water, of_bone in zip(detector.spectrum, WATER_CM2_G, BONE_CM2_G, strict=True):
        signal += np.float32(share) * np.exp(-of_water * water - of_bone * bone, dtype=np.float32)
    signal += detector.scatter * _blur(np.minimum(signal, np.quantile(signal, 0.9)), 35 / spacing_mm)
    # Tied to the densest tenth: tied to the median, a soft beam drowns the mediastinum in noise.
    gain = detector.photons * spacing_mm**2 / np.quantile(signal, 0.1)
    signal = generator.poisson(np.minimum(gain * signal, 1e7)).astype(np.float32) / np.float32(gain)
    detected: Float32[np.ndarray, "height width"] = ndimage.gaussian_filter(signal, detector.blur_mm / spacing_mm, truncate=3)
    return detected


def develop(
    signal: Film, detector: Detector, spacing_mm: float, generator: np.random.Generator
) -> Float32[np.ndarray, "height width"]:
    """Returns grey values in [0, 1], dense = bright: logarithm, narrowed latitude, raised edges, a sigmoid display curve.

    Contrast and brightness vary a little from film to film, as they do.
    """
    density = -np.log(np.maximum(signal, 1e-5))
    slow = _blur(density, 28 / spacing_mm)
    fine = density - ndimage.gaussian_filter(density, 2.2 / spacing_mm, truncate=3)
    shown = density - (1 - detector.latitude) * slow + detector.edge * fine
    upper = shown[: int(0.62 * len(shown))]  # the abdomen would otherwise set the window
    low, middle, high = np.quantile(upper, (0.02, 0.5, 0.98))
    scaled = (shown - middle) / (high - low)
    contrast = detector.contrast * float(np.exp(generator.normal(0, 0.08)))
    brightness = detector.brightness + float(generator.normal(0, 0.2))
    curve: Float32[np.ndarray, "height width"] = 1 / (1 + np.exp(-contrast * scaled - brightness))
    return curve.astype(np.float32)


def _blur(film: Film, sigma_px: float) -> Film:
    """A wide Gaussian, taken on a thinned film: exact enough for what is slow by construction."""
    step = max(1, int(sigma_px / 3))
    small = ndimage.gaussian_filter(ndimage.uniform_filter(film, step)[::step, ::step], sigma_px / step, mode="nearest")
    down, across = (_linear(n, m, step) for n, m in zip(film.shape, small.shape, strict=True))
    smooth: Film = down @ (across @ small.T).T
    return smooth


def _linear(n_out: int, n_in: int, step: int) -> sparse.csr_array:
    """Linear interpolation from every `step`-th sample to all of them."""
    at = np.minimum(np.arange(n_out) / step, n_in - 1)
    weights = np.maximum(1 - np.abs(at[:, None] - np.arange(n_in)), 0)
    return sparse.csr_array(weights.astype(np.float32))
