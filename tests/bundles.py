"""Bundles of tiny random networks, calibrated on films that a moment makes: enough to hold what a bundle must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from vesalius.bundle.calibrate import CalibrationOptions, calibrate
from vesalius.bundle.describe import describe_classifier
from vesalius.bundle.save import save_bundle
from vesalius.datasets.store import Store, write_store
from vesalius.dicom.resample import quantise, resize_to_square
from vesalius.inference.film import AS_IT_IS, FilmInference, FilmView
from vesalius.models.classifier import Classifier, build_classifier
from vesalius.models.config import ClassifierConfig
from vesalius.models.preprocessing import Preprocessing
from vesalius.types import Image, View

FINDINGS = ("Effusion", "Nodule")
SIZE_PX = 64
CONFIG = ClassifierConfig(findings=FINDINGS, encoder="resnet-small", size_px=SIZE_PX, pooling="logsumexp")
DEFAULTS = CalibrationOptions()
PREPROCESSING = Preprocessing(store_size_px=SIZE_PX, size_px=SIZE_PX)


def make_film(seed: int, *, side: int = 72, view: View | None = View.PA) -> Image:
    """Noise on a slope, of every grey, whose lower half is brighter or not."""
    random = np.random.default_rng(seed)
    y = np.linspace(0.1, 0.5, side)[:, None]
    pixels = np.clip(y + random.uniform(0, 0.3, (side, side - 8)) + 0.2 * (seed % 2) * (y > 0.3), 0, 1)
    return Image(pixels=pixels.astype(np.float32), image_id=f"{seed:016x}", bits_stored=12, view_position=view)


def make_network(seed: int = 0, config: ClassifierConfig = CONFIG) -> Classifier:
    """A network of random weights whose logits differ from film to film."""
    torch.manual_seed(seed)
    network = build_classifier(config)
    for parameter in network.evidence.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval()


def make_bundle(
    path: Path,
    *,
    members: int = 1,
    views: tuple[FilmView, ...] = AS_IT_IS,
    films: int = 40,
    options: CalibrationOptions = DEFAULTS,
    **about: Any,
) -> str:
    """Calibrates random networks on a few films, saves the bundle and returns its id."""
    networks = [make_network(seed) for seed in range(members)]
    weights = [save(network.state_dict()) for network in networks]
    inference = FilmInference(networks, PREPROCESSING, views=views)
    output = inference.run([make_film(seed) for seed in range(films)])
    labels = np.array([[seed % 2, seed % 3 == 0] for seed in range(films)], dtype=np.float64)
    patients = np.array([f"patient {seed // 2}" for seed in range(films)])
    calibration = calibrate(output, labels, patients, FINDINGS, options)
    provenance = {"training_sites": ["A"], "films": {"calibration": films}, "store_fingerprint": "0" * 64}
    description = describe_classifier(about.pop("name", "tiny"), CONFIG, inference, calibration, provenance, **about)
    return save_bundle(path, description, weights=weights, statistics=calibration.gate.state())


def make_store(
    path: Path,
    *,
    films: int = 60,
    sites: tuple[str, ...] = ("A",),
    split: str = "calibration",
    side: int = SIZE_PX,
    labels: Mapping[str, np.ndarray] | None = None,
) -> Store:
    """A store of the films above; every tenth is lateral, two films a patient, one label unknown and one uncertain.

    `labels` stand in the place of those of Effusion and Nodule.
    """
    pixels = [quantise(resize_to_square(make_film(seed).pixels, side), 12) for seed in range(films)]
    effusion, nodule = np.arange(films) % 2.0, (np.arange(films) % 3 == 0).astype(np.float64)
    effusion[1], nodule[2] = np.nan, -1
    manifest = pd.DataFrame(
        {
            "site": [sites[seed % len(sites)] for seed in range(films)],
            "split": split,
            "patient_id": [f"patient {seed // 2}" for seed in range(films)],
            "view_position": ["LATERAL" if seed % 10 == 9 else "PA" for seed in range(films)],
            "bits_stored": 12,
        }
        | {f"label:{name}": column for name, column in (labels or {"Effusion": effusion, "Nodule": nodule}).items()}
    )
    return write_store(path, np.stack(pixels), manifest)


def make_run(
    path: Path, store: Store, *, seed: int = 0, sites: tuple[str, ...] = ("A",), config: ClassifierConfig = CONFIG
) -> Path:
    """A finished run whose weights are random: what `vesalius train classifier` leaves, without the training."""
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / "best.safetensors").write_bytes(save(make_network(seed, config).state_dict()))
    model = {
        "format": 1,
        "kind": "classifier",
        "seconds": 1.0,
        "config": config.to_json(),
        "preprocessing": PREPROCESSING.to_json(),
        "sites": list(sites),
        "store_fingerprint": store.fingerprint,
        "options": {"store": str(store.path), "out": str(path), "seed": seed},
        "best": {"step": 1, "macro_auprc": 0.5},
        "films": {"train": 10, "validation": 5},
    }
    (path / "model.json").write_text(json.dumps(model))
    return path
