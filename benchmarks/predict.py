"""`vesalius predict` from files to lines of JSON, against the bare network on the same films already in memory.

    python benchmarks/predict.py [--films DIR] [--encoder vit-base-16] [--size 224] [--count 32] [--rounds 4]

Both take turns on the same films in one run, batch by batch of the same size, and the median of the rounds' ratios is kept.
End to end: read and decode, check, preprocess, network, calibrate, decide, gate, write and flush the line. Start-up (verify and
load the bundle) is timed apart. The ratio of processor time stands beside, for a machine that others use too.
Without --films: DICOM films of noise, 12 bits, as large as the demo's.
Memory: the peak of a fresh process over few films, and over twenty times as many.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset

BATCH = 8
TARGET = 0.8
FINDINGS = ("Effusion", "Pneumothorax", "Consolidation", "Nodule", "Cardiomegaly")


def write_films(folder: Path, count: int, side: int) -> list[Path]:
    """Writes DX films of smooth noise."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        slope = np.linspace(0.2, 0.7, side)[:, None] + np.zeros((1, side))
        levels = np.clip((slope + random.normal(0, 0.08, (side, side))) * 4095, 0, 4095).astype(np.uint16)
        path = folder / f"{number:05d}.dcm"
        _as_dicom(levels).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _as_dicom(levels: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    film = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.StudyInstanceUID, film.SeriesInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    film.Modality, film.ViewPosition, film.PatientID = "DX", "PA", "bench"
    film.Rows, film.Columns = levels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
    film.PixelData = levels.tobytes()
    return film


def make_bundle(path: Path, films: list[Path], encoder: str, size: int) -> None:
    """Locks a network of random weights, calibrated on the films with random labels: as slow as a trained one."""
    import torch
    from safetensors.torch import save

    from vesalius.bundle.calibrate import calibrate
    from vesalius.bundle.describe import describe_classifier
    from vesalius.bundle.save import save_bundle
    from vesalius.dicom.read import read
    from vesalius.inference.film import FilmInference, join
    from vesalius.models.classifier import build_classifier
    from vesalius.models.config import ClassifierConfig
    from vesalius.models.preprocessing import Preprocessing

    torch.manual_seed(0)
    config = ClassifierConfig(findings=FINDINGS, encoder=encoder, size_px=size)  # type: ignore[arg-type]
    network = build_classifier(config)
    weights = save(network.state_dict())
    inference = FilmInference([network], Preprocessing(store_size_px=size, size_px=size))
    output = join([inference.run([read(path) for path in films[at : at + BATCH]]) for at in range(0, len(films), BATCH)])
    labels = np.random.default_rng(0).integers(0, 2, (len(films), len(FINDINGS))).astype(np.float64)
    calibration = calibrate(output, labels, np.arange(len(films)), FINDINGS)
    description = describe_classifier("bench", config, inference, calibration, {"training_sites": ["bench"]})
    save_bundle(path, description, weights=[weights], statistics=calibration.gate.state())


def measure(bundle: Path, films: list[Path], rounds: int, folder: Path) -> dict[str, Any]:
    """Times both by turns."""
    import torch

    from vesalius.bundle.answers_file import AnswersFile
    from vesalius.bundle.cases import list_cases
    from vesalius.bundle.load import load_predictor
    from vesalius.bundle.stream import StreamOptions, answer_cases
    from vesalius.dicom.read import read

    started = time.perf_counter()
    predictor = load_predictor(bundle)
    load_s = time.perf_counter() - started
    cases = list_cases(films)
    network, device = predictor.inference.networks[0], predictor.inference.device
    tensors = torch.from_numpy(predictor.inference.preprocessing.apply([read(path) for path in films])).to(device)

    def bare() -> tuple[float, float]:
        start, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for at in range(0, len(films), BATCH):
                network(tensors[at : at + BATCH]).logits.cpu()
        return time.perf_counter() - start, time.process_time() - cpu

    def end_to_end(turn: int) -> tuple[float, float]:
        start, cpu = time.perf_counter(), time.process_time()
        answers = AnswersFile(folder / f"answers-{turn}.jsonl", predictor.reference)
        with answers.appending() as append:
            for prediction, _ in answer_cases(predictor, cases, options=StreamOptions(batch_size=BATCH)):
                append(prediction)
        if answers.tally.failed:
            raise SystemExit(f"a film could not be answered: {dict(answers.tally.failed)}")
        return time.perf_counter() - start, time.process_time() - cpu

    bare(), end_to_end(-1)  # the first turn warms up
    turns = [(*bare(), *end_to_end(turn)) for turn in range(rounds)]
    ratios = [alone / whole for alone, _, whole, _ in turns]
    return {
        "bare_films_per_second": round(len(films) / statistics.median(turn[0] for turn in turns), 2),
        "predict_films_per_second": round(len(films) / statistics.median(turn[2] for turn in turns), 2),
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "target": TARGET,
        "ratio_of_processor_time": round(statistics.median(turn[1] / turn[3] for turn in turns), 3),
        "load_seconds": round(load_s, 2),
    }


def peak_mib(bundle: Path, films: Path, out: Path) -> float:
    """Peak memory of `vesalius predict` over a folder, in a process of its own."""
    watch = (  # not ru_maxrss: it remembers the process that started this one
        "import sys; from pathlib import Path; from vesalius.cli import main; code = main(sys.argv[1:]);"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]); sys.exit(code)"
    )
    command = [sys.executable, "-c", watch, "predict", str(bundle), str(films), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1]) / 1024


def measure_memory(folder: Path, few: int, side: int) -> dict[str, Any]:
    """Compares few films with twenty times as many, through a small network: what grows would be ours."""
    films = write_films(folder / "many", 20 * few, side)
    write_films(folder / "few", few, side)
    make_bundle(folder / "small", films[:40], "resnet-small", 64)
    one, twenty = (peak_mib(folder / "small", folder / name, folder / f"{name}.jsonl") for name in ("few", "many"))
    return {"films": few, "peak_mib": round(one, 1), "peak_mib_of_20_times": round(twenty, 1), "ratio": round(twenty / one, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, help="a folder of films, such as demo/cohort")
    parser.add_argument("--encoder", default="vit-base-16")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--side", type=int, default=192, help="of the films of noise, in pixels")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--memory", type=int, default=20, help="few films of the memory measurement; 0 leaves it out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.films:
            films = sorted(path for path in options.films.rglob("*") if path.is_file())[: options.count]
        else:
            films = write_films(folder / "films", options.count, options.side)
        make_bundle(folder / "bench", films, options.encoder, options.size)
        what = (
            f"predict end to end over the bare network, {options.encoder} at {options.size} px, {len(films)} films, batch {BATCH}"
        )
        print(json.dumps({"what": what} | measure(folder / "bench", films, options.rounds, folder)), flush=True)
        if options.memory:
            what = "peak memory of predict, 20 times as many films"
            print(json.dumps({"what": what} | measure_memory(folder, options.memory, options.side)), flush=True)


if __name__ == "__main__":
    main()
