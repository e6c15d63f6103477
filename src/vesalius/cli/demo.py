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
    """The whole job on simulated chest radiographs: no data needed, a few minutes on two cores.

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
            out=self.out, patients_a=at_site_a, patients_b=self.patients - at_site_a, size_px=SIZE_PX, seed=self.seed
        )
        with console.progress("simulate") as progress:
            simulate_cohort(options, progress=progress)
        (self.out / "patient.key").write_bytes(PATIENT_KEY)

    def _verbs(self) -> list[tuple[str, Path, list[str]]]:
        """Returns each verb, what is there once it is done, and its words."""
        out = self.out
        store, run, bundle, report = (out / name for name in ("store", "run", "bundle", "report"))
        steps = max(20, round(self.train_seconds * STEPS_A_SECOND))
        take_in = {"labels": out / "labels.csv", "masks": out / "masks", "size": SIZE_PX, "patient-key": out / "patient.key"}
        learn = {
            "store": store,
            "out": run,
            "sites": "A",
            "encoder": "resnet-small",
            "size": 128,
            "steps": steps,
            "seed": self.seed,
        }
        look = {"store": store, "out": report, "by": "sex,age_band,view_position,site"}
        return [
            ("ingest", store / "manifest.parquet", words(out / "cohort", out=store, **take_in)),
            ("train classifier", run / "model.json", words(**learn)),
            ("calibrate", bundle / "MANIFEST.json", words(run, store=store, out=bundle, name="demo", notice=NOTICE)),
            ("audit", report / "index.html", [*words(bundle, **look), "--images"]),
        ]

    def _predict(self, console: Console) -> None:
        """Answers a few films the model never saw: four of site A's test patients, four of site B."""
        out = self.out
        if (out / "predictions.jsonl").exists():
            return
        from vesalius.datasets.store import Store

        manifest = Store(out / "store").manifest
        unseen = [*manifest[(manifest.site == "A") & (manifest.split == "test")].path[:4], *manifest[manifest.site == "B"].path[:4]]
        films = [out / "cohort" / Path(path).name for path in unseen]
        beside = {"out": out / "predictions.jsonl", "heatmap": out / "heatmaps", "sr": out / "sr"}
        self._call(console, ["predict", *words(out / "bundle", *films, **beside)])

    @staticmethod
    def _call(console: Console, arguments: Sequence[str]) -> None:
        console.say(f"\n$ {shlex.join(['vesalius', *arguments])}")
        code = main(arguments)
        if code not in (EXIT_OK, EXIT_SOME_FAILED):
            stopped = f"`vesalius {arguments[0]}` stopped with exit code {code}; its message is above"
            raise VesaliusError(f"{stopped}. Mend it and run the demo again: it goes on from there")

    def _summary(self, console: Console, seconds: float) -> None:
        report = self.out / "report" / "index.html"
        audit: dict[str, Any] = json_module.loads((report.parent / "audit.json").read_text())
        figures = audit["key_figures"]
        console.say()
        console.table("Key figures", ("", "value", "95 % interval"), [(row["label"], row["text"], row["range"]) for row in figures])
        console.say(f"report: {report.resolve()}   ({seconds:.0f} s in all)")
        console.say(NOTICE)
        console.result({"report": str(report), "seconds": round(seconds, 1), "key_figures": figures})


SIZE_PX = 192
STEPS_A_SECOND = 6.0
"""Steps of the demo's network on two cores of the reference machine; a fixed number, so that equal seeds train equally long."""


def words(*positional: object, **options: object) -> list[str]:
    """Returns a command line's words: what stands alone, then `--name value` for each option."""
    return [*map(str, positional), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
