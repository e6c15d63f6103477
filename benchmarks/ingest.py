"""Ingest against a plain loop on the same films, equal stored pixels; and its memory at 20 times as many films.

    python benchmarks/ingest.py [--films 200] [--repeats 3] [--work DIR] [--json]

The plain loop is the least a person writes without this package: one process, pydicom, Pillow, h5py. It knows that these films
need no look-up table; it has no labels, no hashes, no rejects and no resumption. Films: 2048 x 2048 pixels of 12 bits, a third
each uncompressed, JPEG-LS lossless and JPEG 2000 lossless. Both are timed as commands, interpreter start included, in turns.

The plain loop runs twice: with the decoders that pydicom picks (gdcm for JPEG 2000, which decodes on two threads, so that the "one
process" keeps both cores of a small machine busy), and with OpenJPEG on one thread, as where gdcm is not installed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE, BITS, SIZE_PX = 2048, 12, 512
SMALL_SIDE = 768


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, help="a folder for the films, kept; 1 GB for 200")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plain", nargs=3, metavar=("FILMS", "OUT", "J2K"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        plain_loop(Path(arguments.plain[0]), Path(arguments.plain[1]), arguments.plain[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        result = measure(work, arguments.films, arguments.repeats, arguments.workers)
    print(json.dumps(result) if arguments.json else "\n".join(f"{name:<28}{value}" for name, value in result.items()))


def measure(work: Path, n_films: int = 200, repeats: int = 3, workers: int = 2) -> dict[str, object]:
    """Returns the ratio of films a second, whether the pixels are equal, and the peaks of memory."""
    films = make_films(work / f"films-{n_films}", n_films, SIDE)
    plain, one_thread, ours = [], [], []
    for _ in range(repeats):
        plain.append(timed([sys.executable, __file__, "--plain", films, work / "plain.h5", "gdcm"])[0])
        one_thread.append(timed([sys.executable, __file__, "--plain", films, work / "plain.h5", "pylibjpeg"])[0])
        shutil.rmtree(work / "store", ignore_errors=True)
        ours.append(timed(ingest_command(films, work / "store", work, workers))[0])
    peaks = {}
    for times in (1, 20):
        small = make_films(work / f"small-{20 * times}", 20 * times, SMALL_SIDE)
        shutil.rmtree(work / "small-store", ignore_errors=True)
        peaks[times] = timed(ingest_command(small, work / "small-store", work, workers))[1]
    return {
        "films": n_films,
        "plain_seconds": [round(value, 2) for value in plain],
        "plain_one_thread_seconds": [round(value, 2) for value in one_thread],
        "ingest_seconds": [round(value, 2) for value in ours],
        "ratio": round(statistics.median(plain) / statistics.median(ours), 3),
        "ratio_one_thread": round(statistics.median(one_thread) / statistics.median(ours), 3),
        "equal_pixels": equal_pixels(work / "plain.h5", work / "store"),
        "peak_mb_1x": round(peaks[1]),
        "peak_mb_20x": round(peaks[20]),
        "memory_ratio": round(peaks[20] / peaks[1], 3),
    }


def ingest_command(films: Path, out: Path, work: Path, workers: int) -> list[object]:
    key = work / "key"
    key.write_bytes(bytes(range(32)))
    options = ["--out", out, "--size", SIZE_PX, "--workers", workers, "--patient-key", key]
    return [sys.executable, "-m", "vesalius", "ingest", films, *options]


def timed(command: list[object]) -> tuple[float, float]:
    """Returns wall seconds, and the highest sum of the process family's own memory in MB."""
    import psutil

    started, peak = time.perf_counter(), 0.0
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        peak = max(peak, family_mb(psutil.Process(process.pid)))
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(process.stderr.read().decode() if process.stderr else f"{command} failed")
    return seconds, peak


def family_mb(root: object) -> float:
    import psutil

    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:  # type: ignore[attr-defined]
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total / 1e6


def plain_loop(films: Path, out: Path, jpeg_2000: str) -> None:
    import h5py
    import numpy as np
    import PIL.Image
    import pydicom
    from pydicom.uid import JPEG2000Lossless

    files = sorted(films.glob("*.dcm"))
    with h5py.File(out, "w") as file:
        images = file.create_dataset(
            "images", (len(files), SIZE_PX, SIZE_PX), np.uint16, chunks=(1, SIZE_PX, SIZE_PX), compression="gzip",
            compression_opts=1, shuffle=True,
        )  # fmt: skip
        for row, path in enumerate(files):
            dataset = pydicom.dcmread(path)
            top = 2**dataset.BitsStored - 1
            if dataset.file_meta.TransferSyntaxUID == JPEG2000Lossless:
                dataset.pixel_array_options(decoding_plugin=jpeg_2000)
            grey = (dataset.pixel_array / top).astype(np.float32)  # the window of these films is their full range
            small = PIL.Image.fromarray(grey).resize((SIZE_PX, SIZE_PX), PIL.Image.Resampling.BILINEAR)
            images[row] = np.rint(np.asarray(small, dtype=np.float64) * top).astype(np.uint16)


def equal_pixels(plain: Path, store: Path) -> bool:
    import h5py

    with h5py.File(plain) as first, h5py.File(store / "images.h5") as second:
        return first["images"].shape == second["images"].shape and all(
            (first["images"][row] == second["images"][row]).all() for row in range(len(first["images"]))
        )


def make_films(folder: Path, count: int, side: int) -> Path:
    """Films that compress as radiographs do: smooth shadows and noise; the same for the same arguments."""
    if (folder / f"{count - 1:05d}.dcm").exists():
        return folder
    from concurrent.futures import ProcessPoolExecutor

    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(make_film, [folder] * count, range(count), [side] * count, chunksize=4))
    return folder


def make_film(folder: Path, number: int, side: int) -> None:
    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

    random = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side] / side
    waves = sum(np.sin(random.uniform(2, 30) * x + random.uniform(2, 30) * y + random.uniform(0, 6)) for _ in range(6)) / 12 + 0.5
    stored = np.clip(waves * 4095 + random.normal(0, 12, (side, side)), 0, 4095).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientID, dataset.Modality, dataset.ViewPosition = f"P{number}", "DX", "PA"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = side, side, 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, BITS, BITS - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (BITS - 1), 2**BITS
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    if number % 3:
        dataset.compress(JPEGLSLossless if number % 3 == 1 else JPEG2000Lossless, generate_instance_uid=False)
    dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
