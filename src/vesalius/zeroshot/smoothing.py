"""A patch and its neighbours on the glass: scores or features averaged over the nearest few.

MI-Zero averages each patch's scores over its nearest neighbours before pooling; its published code cannot run, and does not say
whether a patch is among its own neighbours. Here it is: the nearest K of a patch begin with the patch itself, and of neighbours
equally far the one with the lower position (row, then column) comes first, so that the order of the patches does not matter.

Source: Lu et al. 2023, arXiv:2306.07831, section 3.3 (spatial smoothing); the choices above are ours.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Real

from vesalius.errors import ShapeMismatch, ValueOutOfRange


def neighbours(coordinates: Real[np.ndarray, "patch 2"], k: int = 8) -> Int64[np.ndarray, "patch k"]:
    """Numbers of the K nearest patches of each, itself first; with fewer patches than K, all of them.

    Args:
        coordinates: Place of each patch on the slide, in any one unit.
        k: How many, the patch itself included.

    Raises:
        ShapeMismatch: Not (patch, 2).
        ValueOutOfRange: K below 1.

    Checked against: sorting all distances (tests/unit).
    """
    from scipy.spatial import cKDTree

    places = np.asarray(coordinates, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ShapeMismatch(f"coordinates {places.shape}; expected (patch, 2)")
    if k < 1:
        raise ValueOutOfRange(f"K = {k}; a patch has at least one neighbour, itself")
    count = len(places)
    if count == 0:
        return np.empty((0, 0), dtype=np.int64)
    wanted = min(k, count)
    # On a grid many neighbours are equally far: enough of them are asked for that ties at the K-th place are all seen.
    asked = min(count, 4 * wanted + 8)
    tree = cKDTree(places)
    distance, found = tree.query(places, k=asked)
    distance, found = distance.reshape(count, asked), found.reshape(count, asked)
    chosen = np.empty((count, wanted), dtype=np.int64)
    row, column = places[:, 1], places[:, 0]
    own = np.arange(count)[:, None]
    order = np.lexsort((column[found], row[found], found != own, np.round(distance, 9)), axis=1)
    chosen[:] = np.take_along_axis(found, order[:, :wanted], axis=1)
    return chosen


def smooth(values: Float[np.ndarray, "patch column"], nearest: Int64[np.ndarray, "patch k"]) -> Float64[np.ndarray, "patch column"]:
    """Mean of each patch's values over its neighbours, one neighbour at a time: memory is that of the values, twice.

    Args:
        values: Scores (as MI-Zero does) or features, to be normalised and scored afterwards.
        nearest: From `neighbours`.

    Raises:
        ShapeMismatch: Another number of patches.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(nearest):
        raise ShapeMismatch(f"values {rows.shape}, neighbours {nearest.shape}; expected one row a patch")
    total = np.zeros_like(rows)
    for place in range(nearest.shape[1]):
        total += rows[nearest[:, place]]
    mean: Float64[np.ndarray, "patch column"] = total / max(nearest.shape[1], 1)
    return mean


def smooth_features(
    embeddings: Float32[np.ndarray, "patch dim"], nearest: Int64[np.ndarray, "patch k"], *, block: int = 2048
) -> Float32[np.ndarray, "patch dim"]:
    """Mean of each patch's unit vector over its neighbours, made a unit vector again; a block of patches at a time.

    Where neighbours cancel to nothing, the patch keeps its own.

    Raises:
        ShapeMismatch: Another number of patches.
    """
    if embeddings.ndim != 2 or len(embeddings) != len(nearest):
        raise ShapeMismatch(f"embeddings {embeddings.shape}, neighbours {nearest.shape}; expected one row a patch")
    smoothed = np.empty_like(embeddings)
    for start in range(0, len(embeddings), block):
        mean = embeddings[nearest[start : start + block]].mean(axis=1)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        own = embeddings[start : start + block]
        smoothed[start : start + block] = np.where(length > 1e-6, mean / np.maximum(length, 1e-6), own)
    return smoothed
