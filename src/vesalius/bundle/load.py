"""From a folder to something that answers: verified first, then read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.bundle import format as layout
from vesalius.bundle.verify import VerifiedBundle, verify
from vesalius.errors import BundleError, VesaliusError

if TYPE_CHECKING:
    from vesalius.bundle.image_text import ImageTextBundle
    from vesalius.bundle.predictor import Predictor
    from vesalius.bundle.slide_predictor import SlidePredictor
    from vesalius.inference.film import FilmInference
    from vesalius.inference.learned_prompts import LearnedPromptInference
    from vesalius.inference.zero_shot import ZeroShotInference


def load(path: str | Path, *, device: str = "auto") -> Predictor | SlidePredictor | ImageTextBundle:
    """Loads a bundle once every file of it was verified: whatever its kind says it is.

    Args:
        path: Its folder.
        device: `auto` takes an accelerator where there is one; else a torch device such as `cpu`.

    Returns:
        What answers `predict`, with films or (kind `zero-shot-slides`) with slides; of kind `image-text`, what answers
        `vesalius.zeroshot`.

    Raises:
        BundleChanged: A file was changed, is missing, is extra or is a link; the message names it.
        BundleError: No bundle there, one of another format, or one that does not fit together.
    """
    verified = verify(path)
    if verified.kind == layout.IMAGE_TEXT:
        from vesalius.bundle.image_text import open_image_text

        return open_image_text(verified)
    return _open(verified, device)


def load_answering(path: str | Path, *, device: str = "auto") -> Predictor | SlidePredictor:
    """Loads a bundle that answers `predict`, with films or with slides: see `load`.

    Raises:
        BundleChanged: A file was changed, is missing, is extra or is a link; the message names it.
        BundleError: As `load`, or a bundle of kind `image-text`, which answers `zeroshot` only.
    """
    verified = verify(path)
    if verified.kind == layout.IMAGE_TEXT:
        from vesalius.bundle.image_text import refusal

        raise BundleError(refusal(verified.reference))
    return _open(verified, device)


def load_predictor(path: str | Path, *, device: str = "auto") -> Predictor:
    """Loads a bundle that answers `predict` with films: see `load`.

    Raises:
        BundleChanged: A file was changed, is missing, is extra or is a link; the message names it.
        BundleError: As `load`, or a bundle of kind `image-text`, which answers `zeroshot` only, or one that reads whole slides.
    """
    from vesalius.bundle.predictor import Predictor

    answering = load_answering(path, device=device)
    if not isinstance(answering, Predictor):
        raise BundleError(
            f"{answering.reference} reads whole slides, and here films are read: ask it with `vesalius predict BUNDLE SLIDES`, "
            "measure it with `vesalius audit BUNDLE --slides LABELS.csv`"
        )
    return answering


def _open(verified: VerifiedBundle, device: str) -> Predictor | SlidePredictor:
    from vesalius.bundle.predictor import Predictor
    from vesalius.bundle.slide_predictor import SlidePredictor
    from vesalius.bundle.zero_shot_slides import open_slides
    from vesalius.uncertainty import calibrator_from_json
    from vesalius.uncertainty.class_decisions import policy_from_json

    description = verified.description
    try:
        rules = {
            "description": description,
            "id": verified.id,
            "calibrator": calibrator_from_json(description["calibrator"]),
            "policy": policy_from_json(description["policy"]),
            "gate": _gate(verified),
        }
        if verified.kind == layout.ZERO_SHOT_SLIDES:
            return SlidePredictor(**rules, inference=open_slides(verified, device))
        return Predictor(**rules, inference=_inference(verified, device))
    except VesaliusError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise BundleError(f"the bundle at {verified.path} does not fit together ({error}); calibrate it again") from error


def _inference(verified: VerifiedBundle, device: str) -> FilmInference | LearnedPromptInference | ZeroShotInference:
    from safetensors.torch import load_file

    from vesalius.bundle.learned_prompts import is_learned, open_learned
    from vesalius.bundle.zero_shot import open_zero_shot
    from vesalius.inference.film import FilmInference, FilmView
    from vesalius.models.classifier import build_classifier
    from vesalius.models.config import ClassifierConfig
    from vesalius.models.preprocessing import Preprocessing

    description: dict[str, Any] = verified.description
    if is_learned(description):
        return open_learned(verified, device)
    if verified.kind == layout.ZERO_SHOT:
        return open_zero_shot(verified, device)
    networks = []
    for name in layout.weights_names(description["averaging"]["members"]):
        network = build_classifier(ClassifierConfig.from_json(description["encoder"]))
        network.load_state_dict(load_file(verified.path / name))
        networks.append(network)
    return FilmInference(
        networks,
        Preprocessing.from_json(description["preprocessing"]),
        precision=description["precision"],
        views=[FilmView(**view) for view in description["averaging"]["views"]],
        device=device,
    )


def _gate(verified: VerifiedBundle) -> Any:
    from safetensors.numpy import load_file

    from vesalius.uncertainty import OodGate

    return OodGate.from_state(load_file(verified.path / layout.STATISTICS), verified.description["gate"])
