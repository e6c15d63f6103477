"""A finished training run, as later verbs find it on disk. No torch here.

RUN/run.toml                        every setting: `vesalius train classifier --config RUN/run.toml` makes the run again
RUN/model.json                      configuration, preprocessing contract, findings, sites, provenance
RUN/metrics.jsonl                   one line an evaluation
RUN/checkpoints/best.safetensors    averaged weights at the best validation macro-AUPRC
RUN/checkpoints/last.ckpt           all that is needed to go on
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.errors import RunError
from vesalius.models.config import ClassifierConfig
from vesalius.models.preprocessing import Preprocessing

FORMAT = 1


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run lie."""

    path: Path

    @property
    def settings(self) -> Path:
        """Every setting."""
        return self.path / "run.toml"

    @property
    def model(self) -> Path:
        """What the weights are."""
        return self.path / "model.json"

    @property
    def metrics(self) -> Path:
        """One line an evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """Averaged weights at the best validation score."""
        return self.path / "checkpoints" / "best.safetensors"

    def weights_at(self, step: int) -> Path:
        """Averaged weights after `step` steps, of a run that keeps several."""
        return self.best.with_name(f"step-{step:08d}.safetensors")

    def weights_kept(self) -> list[Path]:
        """The weights of a run that keeps several, by step."""
        return sorted(self.best.parent.glob("step-*.safetensors"))

    @property
    def last(self) -> Path:
        """All that is needed to go on."""
        return self.path / "checkpoints" / "last.ckpt"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its folder.
        config: Of the network.
        preprocessing: The contract from film to tensor.
        weights: The averaged weights at the best evaluation, a safetensors file.
        findings: In the order of the logits.
        sites: The sites whose films it was trained on; every other site is external to it.
        store_fingerprint: SHA-256 of the store's manifest at training time.
        options: Every setting, as in `run.toml`, but for the paths of the machine it was made on.
        best: The best evaluation: `step`, `macro_auprc`, `macro_auroc` and more, as in its line of `metrics.jsonl`.
        films: How many films each split had: `train`, `validation`.
        seconds: Wall time of the training.
    """

    path: Path
    config: ClassifierConfig
    preprocessing: Preprocessing
    weights: Path
    findings: tuple[str, ...]
    sites: tuple[str, ...]
    store_fingerprint: str
    options: dict[str, Any]
    best: dict[str, Any]
    films: dict[str, int]
    seconds: float


def load_run(path: str | Path) -> Run:
    """Opens a finished run; its weights are named, not read.

    Raises:
        RunError: No run there, or it stopped before its end; the message has the command that goes on.
    """
    folder = RunFolder(Path(path))
    if folder.settings.is_file() and not folder.model.is_file():
        again = f"vesalius train classifier --config {folder.settings}"
        raise RunError(f"the run at {folder.path} is not finished; go on with `{again}`, then try again")
    try:
        model = json.loads(folder.model.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no training run at {folder.path} (no model.json); make one with `vesalius train classifier`") from None
    except ValueError:
        raise RunError(f"{folder.model} is not JSON; train again into another folder") from None
    if model.get("kind", "classifier") != "classifier":
        raise RunError(f"{folder.path} is a run of the recipe {model['kind']}; expected one of `vesalius train classifier`")
    if model.get("format") != FORMAT:
        raise RunError(f"{folder.model} has format {model.get('format')!r}; this version reads {FORMAT}; train again")
    if not folder.best.is_file():
        raise RunError(f"the run at {folder.path} has lost its weights ({folder.best.name}); train again")
    config = ClassifierConfig.from_json(model["config"])
    return Run(
        path=folder.path,
        config=config,
        preprocessing=Preprocessing.from_json(model["preprocessing"]),
        weights=folder.best,
        findings=tuple(config.findings),
        sites=tuple(model["sites"]),
        store_fingerprint=model["store_fingerprint"],
        options=model["options"],
        best=model["best"],
        films=model["films"],
        seconds=float(model["seconds"]),
    )
