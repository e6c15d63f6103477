"""`vesalius demo`: the verbs a user would type, one after another, on films simulated from one real CT."""

from __future__ import annotations

import json as json_module
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli import EXIT_OK, EXIT_SOME_FAILED, main
from vesalius.cli.console import Console
from vesalius.errors import VesaliusError

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTICE = (
    "Every virtual patient of this cohort descends from one CT scan. These figures show that the chain works; "
    "they say nothing about real films."
)
PATIENT_KEY = bytes(range(32))
"""The simulated patients have nothing to hide, and a fixed key makes two demos equal."""


@dataclass(frozen=True)
class Command:
    """The whole job on simulated chest radiographs: no data needed, about five minutes on two cores.

    Simulates two sites from one real CT, then runs the verbs you would type yourself and shows each line:
    ingest, train classifier, calibrate, audit, predict. Run it again and it goes on where it stopped.

        vesalius demo --out demo
        open demo/report/index.html
    """

    out: Path
    """a folder for everything: cohort/, store/, run/, bundle/, report/, predictions.jsonl, heatmaps/, sr/"""
    patients: int = 300
    """virtual patients; three in four belong to site A, which trains the model, the rest to site B, which never does"""
    train_seconds: int = 120
    """about how long to train on two cores; the number of steps follows from it, not from the clock"""
    seed: int = 0
    """same seed, same films, byte for byte"""
    json: bool = False
    """print one machine-readable object at the end"""

    def run(self) -> int:
        """Runs the demo and returns its exit code."""
        console, started = Console(json=self.json), time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        self._simulate(console)
        for verb, done, arguments in self._verbs():
            if done.exists():
                console.say(f"\n$ vesalius {verb} ...   (done before: {done})")
                continue
            self._call(console, [*verb.split(), *arguments])
        self._predict(console)
        self._summary(console, time.monotonic() - started)
        return EXIT_OK

    def _simulate(self, console: Console) -> None:
        if (self.out / "labels.csv").exists():
            console.say(f"films: done before ({self.out / 'cohort'})")
            return
        from vesalius.datasets.simulated_radiographs import CohortOptions, simulate_cohort

        console.say(f"Simulating chest radiographs of {self.patients} virtual patients from one real CT.\n{NOTICE}")
        at_site_a = round(self.patients * 0.75)
        options = CohortOptions(
            out=self.out, patients_a=at_site_a, patients_b=self.patients - at_site_a, size_px=192, seed=self.seed
        )
        with console.progress("simulate") as progress:
            simulate_cohort(options, progress=progress)
        (self.out / "patient.key").write_bytes(PATIENT_KEY)

    def _verbs(self) -> list[tuple[str, Path, list[str]]]:
        out = self.out
        steps = max(20, round(self.train_seconds * STEPS_A_SECOND))
        return [
            (
                "ingest",
                out / "store" / "manifest.parquet",
                [f"{out}/cohort", "--out", f"{out}/store", "--labels", f"{out}/labels.csv", "--masks", f"{out}/masks"]
                + ["--size", "128", "--patient-key", f"{out}/patient.key"],
            ),
            (
                "train classifier",
                out / "run" / "model.json",
                ["--store", f"{out}/store", "--out", f"{out}/run", "--encoder", "resnet-small", "--size", "128", "--sites", "A"]
                + ["--steps", str(steps), "--seed", str(self.seed)],
            ),
            (
                "calibrate",
                out / "bundle" / "MANIFEST.json",
                [f"{out}/run", "--store", f"{out}/store", "--out", f"{out}/bundle", "--name", "demo", "--notice", NOTICE],
            ),
            (
                "audit",
                out / "report" / "index.html",
                [f"{out}/bundle", "--store", f"{out}/store", "--out", f"{out}/report", "--by", "sex,age_band,view_position,site"]
                + ["--images"],
            ),
        ]

    def _predict(self, console: Console) -> None:
        """Answers a few films the model never saw: four of site A's test patients, four of site B."""
        out = self.out
        if (out / "predictions.jsonl").exists():
            return
        from vesalius.datasets.store import Store

        manifest = Store(out / "store").manifest
        unseen = [*manifest[(manifest.site == "A") & (manifest.split == "test")].path[:4], *manifest[manifest.site == "B"].path[:4]]
        films = [str(out / "cohort" / Path(path).name) for path in unseen]
        where = ["--out", f"{out}/predictions.jsonl", "--heatmap", f"{out}/heatmaps", "--sr", f"{out}/sr"]
        self._call(console, ["predict", f"{out}/bundle", *films, *where])

    @staticmethod
    def _call(console: Console, arguments: Sequence[str]) -> None:
        console.say(f"\n$ {shlex.join(['vesalius', *arguments])}")
        code = main(arguments)
        if code not in (EXIT_OK, EXIT_SOME_FAILED):
            raise VesaliusError(f"`vesalius {arguments[0]}` stopped with exit code {code}; its message is above. Mend it and run the demo again")

    def _summary(self, console: Console, seconds: float) -> None:
        audit: dict[str, Any] = json_module.loads((self.out / "report" / "audit.json").read_text())
        console.say(f"\nReport: {(self.out / 'report' / 'index.html').resolve()}   ({seconds:.0f} s in all)")
        console.say(NOTICE)
        console.result({"report": str(self.out / "report" / "index.html"), "seconds": round(seconds, 1), "audit": audit})


STEPS_A_SECOND = 4.0
"""Steps of the demo's network on two cores of the reference machine; a fixed number, so that equal seeds train equally long."""
