"""`vesalius calibrate`: a run, or towers and words, into a locked bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from vesalius.cli import EXIT_OK
from vesalius.cli.arguments import gather
from vesalius.cli.console import Console
from vesalius.cli.slide_flags import CutFlags, PoolFlags
from vesalius.errors import RunError

if TYPE_CHECKING:
    import numpy as np

    from vesalius.bundle.calibrate import Calibration, CalibrationOptions
    from vesalius.cli.calibration_films import CalibrationFilms
    from vesalius.datasets.store import Store
    from vesalius.inference.film import FilmInference
    from vesalius.training.prompts_run import PromptsRun
    from vesalius.training.run import Run

MACHINE_PATHS = ("store", "out", "init_from", "bundle")
"""Settings of a run that name places on the machine it ran on; a bundle keeps none."""


def arrange(arguments: list[str]) -> list[str]:
    """Lets `--finding` be given several times, with one text or several each time."""
    return gather(arguments, "--finding")


@dataclass(frozen=True)
class Command:
    """A run into a locked bundle: calibrators, thresholds, abstention and the out-of-distribution gate.

    Uses the films whose split is `calibration`, of the sites the run was trained on, and no others. Several runs make one
    bundle that answers with the mean of their logits. Afterwards nothing in the bundle can be changed unseen.

        vesalius calibrate runs/cxr --store stores/cxr --out bundles/cxr
        vesalius calibrate runs/a runs/b runs/c --store stores/cxr --out bundles/three --threshold-rule sensitivity=0.95
        vesalius calibrate runs/cxr --store stores/cxr --out bundles/safe --target-risk 0.05 --risk-confidence 0.9

    Given a bundle of kind image-text and what it is asked, it makes probabilities and decisions of the words' contrasts; the new
    bundle answers `predict` and `audit`, and no other words. Findings are named as the store's labels are.

        vesalius calibrate bundles/chexzero --store stores/cxr --prompts chexpert --out bundles/words

    With --slides it does the same for whole slides; the new bundle answers `predict` and `audit` with slides. The CSV has a column
    `file` (paths from its own folder), optional `patient_id`, `site` and `split` (then only lines of `calibration` are used), and a
    column a finding (1, 0, -1 uncertain, blank unknown), or for prompts of classes one column `class`. A slide that cannot be read
    is named and left out, and the exit code is 3 then. Run again, it takes up the features that are there.

        vesalius calibrate bundles/mi-zero --slides labels.csv --prompts renal --out bundles/kidney --patch-mpp 0.5
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """one finished run of `train classifier` or `train prompts`, or several as an ensemble; or a bundle of kind image-text"""
    out: Path
    """the bundle's folder, to be made"""
    store: Path | None = None
    """the store with the calibration split"""
    slides: Path | None = None
    """of an image-text bundle, instead of --store: a CSV of slides and what is known of them"""
    name: str | None = None
    """the bundle's name in every answer; the folder's name unless given"""
    finding: tuple[str, ...] = ()
    """of an image-text bundle: what it is asked, each text against "no TEXT" """
    prompts: str | None = None
    """of an image-text bundle, instead of --finding: a prompt file (YAML), or one of ours: chexpert, nih, lung, renal, organs"""
    average: Literal["embeddings", "logits"] = "embeddings"
    """of an image-text bundle: over synonyms and templates, the mean of their embeddings or of their cosines"""
    sites: str | None = None
    """calibrate on films of these sites, comma separated; the run's training sites unless given (of slides: all)"""
    coverage: float = 0.9
    """share of films (or slides) that each finding goes on answering; it abstains on the rest, nearest its threshold"""
    threshold_rule: str = "f1"
    """how each threshold is chosen: f1, youden, or sensitivity=0.95"""
    target_risk: float | None = None
    """instead of --coverage: answer as many films as keep the share of wrong answers at or below this, 0.05 say"""
    risk_confidence: float | None = None
    """promise --target-risk (or the sensitivity of --threshold-rule) with this confidence, 0.9 say, on patients that had no say in
    the rule; a finding with too few of them is never answered. Without it the target is only what the calibration films showed"""
    ood_scores: str = "mahalanobis"
    """scores of the gate, comma separated: mahalanobis, two-class, relative, knn, vim, energy, centred-energy, max-logit"""
    ood_quantile: float = 0.99
    """share of new films of the same kind that the gate lets through"""
    views: str = "PA,AP"
    """view positions that it answers; a film of any other known view is not assessable"""
    tta: Literal["none", "rotate", "rotate-scale"] = "none"
    """look at each film several times, turned by 4 degrees and scaled by 6 %, and average; never flipped"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """the precision it is calibrated and answers in"""
    features: Path | None = None
    """for slides: a folder of patch features, taken up where they are there; unless given, `features` beside --out"""
    cut: tyro.conf.OmitArgPrefixes[CutFlags] = field(default_factory=CutFlags)
    """for slides: how they are cut into patches"""
    pool: tyro.conf.OmitArgPrefixes[PoolFlags] = field(default_factory=PoolFlags)
    """for slides: how patches become a slide's score"""
    prompt_sets: int = 50
    """for slides: draw so many prompt sets; the logit is the median over them. 0 takes all words at once"""
    batch_size: int = 32
    """for slides: patches a pass of the network"""
    workers: int = 1
    """for slides: threads that read patches while the network computes"""
    notice: tuple[str, ...] = ()
    """sentences that must stand wherever its figures are shown"""
    date: str | None = None
    """a date to keep in the card; none unless given, so that equal inputs give equal bytes"""
    seed: int = 0
    """of the folds of cross-validation, and of the drawn prompt sets"""
    device: str = "auto"
    """what computes: auto, cpu, cuda, cuda:1 ..."""
    overwrite: bool = False
    """replace a bundle that is there"""
    json: bool = False
    """print one machine-readable object"""

    def run(self) -> int:
        """Calibrates, writes the bundle and returns the exit code."""
        from vesalius.cli.calibrate_prompts import calibrate_prompts
        from vesalius.cli.calibrate_slides import calibrate_slides
        from vesalius.cli.calibrate_words import calibrate_words, is_image_text
        from vesalius.training.prompts_run import is_prompts_run

        console = Console(json=self.json)
        if self.slides is not None:
            return calibrate_slides(self, console)
        if any(is_prompts_run(path) for path in self.runs):
            return calibrate_prompts(self, console)
        if any(is_image_text(path) for path in self.runs):
            return calibrate_words(self, console)
        if self.finding or self.prompts:
            raise RunError("--finding and --prompts ask a bundle of kind image-text; a trained run answers its own findings")
        return self._calibrate_classifiers(console)

    def _calibrate_classifiers(self, console: Console) -> int:
        from vesalius.bundle.calibrate import calibrate
        from vesalius.bundle.describe import describe_classifier
        from vesalius.bundle.save import check_free, save_bundle
        from vesalius.cli.calibration_films import choose_films, run_films
        from vesalius.datasets.store import Store
        from vesalius.training.run import load_run

        check_free(self.out, overwrite=self.overwrite)
        runs = [load_run(path) for path in self.runs]
        check_members(runs)
        store = Store(self.store_at)
        sites, size = words(self.sites) or trained_on(runs), runs[0].preprocessing.store_size_px
        films = choose_films(store, runs[0].findings, sites, words(self.views), store_size_px=size)
        inference = self._inference(runs)
        with console.progress("calibrate") as progress:
            output = run_films(inference, films.images(), len(films.rows), progress)
        patients = films.patients()
        calibration = calibrate(output, films.labels, patients, runs[0].findings, self.calibration_options())
        description = describe_classifier(
            self.name or self.out.resolve().name,
            runs[0].config,
            inference,
            calibration,
            self.provenance(runs, store, films, patients),
            assessable_views=words(self.views),
            notices=self.notice,
        )
        bundle_id = save_bundle(
            self.out,
            description,
            weights=[run.weights.read_bytes() for run in runs],
            statistics=calibration.gate.state(),
            overwrite=self.overwrite,
        )
        self.show(console, description, bundle_id)
        return EXIT_OK

    @property
    def store_at(self) -> Path:
        """Where the films are.

        Raises:
            RunError: Nobody said it, or something was said that only slides have.
        """
        if self.features is not None or self.cut != CutFlags() or self.pool != PoolFlags():
            raise RunError("--features, and how slides are cut and pooled, are of slides; name them with --slides LABELS.csv")
        if self.store is None:
            raise RunError("say what to calibrate on: --store STORE for films, or --slides LABELS.csv for whole slides")
        return self.store

    @property
    def features_at(self) -> Path:
        """Where features of slides go."""
        return self.features or self.out.parent / "features"

    def calibration_options(self) -> CalibrationOptions:
        """Returns the rules to fit by."""
        from vesalius.bundle.calibrate import CalibrationOptions

        return CalibrationOptions(
            self.coverage,
            self.threshold_rule,
            words(self.ood_scores),
            self.ood_quantile,
            self.seed,
            self.target_risk,
            self.risk_confidence,
        )

    def rules_asked(self, *, classes: bool) -> dict[str, Any]:
        """Returns how it was calibrated, for the record; classes have no threshold to choose."""
        options = self.calibration_options()
        return {
            "coverage": options.coverage,
            "threshold_rule": "likeliest class" if classes else options.threshold_rule,
            "ood_scores": list(options.ood_scores),
            "ood_quantile": options.ood_quantile,
            "precision": self.precision,
            "seed": options.seed,
            "target_risk": options.target_risk,
            "risk_confidence": options.guarantee,
        }

    def _inference(self, runs: Sequence[Run]) -> FilmInference:
        from safetensors.torch import load_file

        from vesalius.inference.film import VIEWS, FilmInference
        from vesalius.models.classifier import build_classifier

        networks = []
        for run in runs:
            network = build_classifier(run.config)
            network.load_state_dict(load_file(run.weights))
            networks.append(network)
        return FilmInference(networks, runs[0].preprocessing, precision=self.precision, views=VIEWS[self.tta], device=self.device)

    def provenance(
        self,
        runs: Sequence[Run] | Sequence[PromptsRun],
        store: Store,
        films: CalibrationFilms,
        patients: np.ndarray,
        *,
        classes: bool = False,
    ) -> dict[str, Any]:
        """Returns where data and code come from; nothing here names a place on this machine or a patient."""
        members = [
            {
                "options": {name: value for name, value in run.options.items() if name not in MACHINE_PATHS},
                "best": run.best,
                "films": run.films,
                "sites": list(run.sites),
                "store_fingerprint": run.store_fingerprint,
            }
            for run in runs
        ]
        return {
            "training_sites": sorted({*trained_on(runs), *films.sites}),
            "store_fingerprint": store.fingerprint,
            "films": {**runs[0].films, "calibration": len(films.rows)},
            "calibration": {
                "patients": len(set(patients.tolist())),
                "sites": list(films.sites),
                "left_out": films.left_out,
                "options": self.rules_asked(classes=classes) | {"tta": self.tta},
            },
            "members": members,
            "warnings": [*warnings_of(runs, store), *films.notes],
            "date": self.date,
        }

    def show(self, console: Console, description: dict[str, Any], bundle_id: str, what: str = "films") -> None:
        """Prints what was fitted; `what` was calibrated on."""
        from vesalius.bundle.format import reference
        from vesalius.cli.bundle_inspect import show_calibration

        show_calibration(console, description["calibration"], what)
        gate, left_out = description["gate"], description["provenance"]["calibration"]["left_out"]
        limit = f"; {gate['note']}" if gate["note"] else ""
        console.say(f"gate: {', '.join(gate['scores'])}, out above {gate['threshold']:.4g}{limit}")
        for reason, count in left_out.items():
            console.say(f"left out of the calibration split: {count} {what}, {reason.replace('_', ' ')}")
        for warning in description["provenance"]["warnings"]:
            console.say(f"mind: {warning}")
        if self.target_risk is not None and self.risk_confidence is None:
            console.say("mind: the target risk is what was seen here, not a promise; --risk-confidence 0.9 makes one")
        console.say(f"bundle: {self.out}   {reference(description['name'], bundle_id)}")
        console.result({"bundle": str(self.out), "id": bundle_id, "description": description})


def words(text: str | None) -> tuple[str, ...]:
    """Returns the words of a comma separated list."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def check_members(runs: Sequence[Run]) -> None:
    """Refuses runs that cannot answer together.

    Raises:
        RunError: They differ in configuration or preprocessing, or there is none.
    """
    if not runs:
        raise RunError("no run given; `vesalius calibrate RUN --store STORE --out BUNDLE`")
    for run in runs[1:]:
        if (run.config, run.preprocessing) != (runs[0].config, runs[0].preprocessing):
            raise RunError(
                f"{run.path} and {runs[0].path} differ in findings, encoder or preprocessing; an ensemble needs runs of the same "
                "configuration (another seed, other sites): calibrate them into two bundles"
            )


def show_class_cut(console: Console, calibration: Calibration, labels: np.ndarray, what: str) -> None:
    """Says when the likeliest of several classes is answered; nothing of findings."""
    from vesalius.uncertainty.class_decisions import ClassPolicy

    if not isinstance(calibration.policy, ClassPolicy):
        return
    known, cut = int((labels == 1).any(axis=1).sum()), calibration.policy.cut
    said = "nothing is answered" if cut > 1 else f"the likeliest class is said where its probability is {cut:.3f} or more"
    console.say(f"classes exclude each other, probabilities add up to 1: {said}, else none ({known} {what} of a known class)")


def trained_on(runs: Sequence[Run] | Sequence[PromptsRun]) -> tuple[str, ...]:
    """Returns the sites that any of the runs was trained on."""
    return tuple(sorted({site for run in runs for site in run.sites}))


def warnings_of(runs: Sequence[Run] | Sequence[PromptsRun], store: Store) -> list[str]:
    """Returns what a reader of the card should know of how data were used."""
    found = []
    if any(run.store_fingerprint != store.fingerprint for run in runs):
        found.append(
            "calibrated on another store, or another version of it, than a run was trained on: "
            "make sure that no patient of this calibration split was trained on"
        )
    return found
