"""How one film becomes logits: members of an ensemble and views of the film, averaged as logits.

The rule (which weights, which views, which precision) is locked in the bundle: calibrators and thresholds hold for
these averaged logits and for no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Float64

from vesalius.errors import BundleError, EmptyInput, ValueOutOfRange

if TYPE_CHECKING:
    import torch

    from vesalius.models.classifier import Classifier
    from vesalius.models.preprocessing import Preprocessing
    from vesalius.types import Image

Precision = Literal["float32", "bfloat16"]

MAX_ROTATION_DEG = 15.0
SCALES = (0.8, 1.25)


@dataclass(frozen=True)
class FilmView:
    """One way to look at a film again: turned and scaled a little about its centre. There is no flip: the heart is on the left.

    Attributes:
        rotate_deg: Counter-clockwise, at most 15 either way.
        scale: Above 1 enlarges; 0.8 to 1.25.
    """

    rotate_deg: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if abs(self.rotate_deg) > MAX_ROTATION_DEG or not SCALES[0] <= self.scale <= SCALES[1]:
            raise BundleError(
                f"a view turned by {self.rotate_deg} degrees and scaled by {self.scale} is no longer the same film; "
                f"use at most {MAX_ROTATION_DEG:g} degrees and {SCALES[0]} to {SCALES[1]}"
            )

    @property
    def identity(self) -> bool:
        """Is it the film as it is?"""
        return self.rotate_deg == 0.0 and self.scale == 1.0

    def to_json(self) -> dict[str, float]:
        """Returns the plain dict that a bundle keeps."""
        return {"rotate_deg": self.rotate_deg, "scale": self.scale}


AS_IT_IS = (FilmView(),)
VIEWS: dict[str, tuple[FilmView, ...]] = {
    "none": AS_IT_IS,
    "rotate": (FilmView(), FilmView(rotate_deg=-4.0), FilmView(rotate_deg=4.0)),
    "rotate-scale": (FilmView(), FilmView(-4.0), FilmView(4.0), FilmView(scale=0.94), FilmView(scale=1.06)),
}
"""What `vesalius calibrate --tta` offers; the film as it is always comes first."""


@dataclass(frozen=True)
class NetworkOutput:
    """What the networks say of some films.

    Attributes:
        logits: Mean over members and views; uncalibrated.
        features: Encoder features, mean over views; members side by side along `dim`.
        evidence: Patch logits of the film as it is, mean over members; None unless asked for.
    """

    logits: Float64[np.ndarray, "case finding"]
    features: Float64[np.ndarray, "case dim"]
    evidence: Float32[np.ndarray, "case finding height width"] | None = None

    def cases(self) -> Iterator[NetworkOutput]:
        """Yields the output of each film alone."""
        for at in range(len(self.logits)):
            one = slice(at, at + 1)
            yield NetworkOutput(self.logits[one], self.features[one], None if self.evidence is None else self.evidence[one])


def join(outputs: Sequence[NetworkOutput]) -> NetworkOutput:
    """Returns the outputs of several batches as one, in order.

    Raises:
        EmptyInput: No batch; pass at least one.
    """
    if not outputs:
        raise EmptyInput("no network output to join; run at least one film")
    evidence = [output.evidence for output in outputs if output.evidence is not None]
    return NetworkOutput(
        logits=np.concatenate([output.logits for output in outputs]),
        features=np.concatenate([output.features for output in outputs]),
        evidence=np.concatenate(evidence) if len(evidence) == len(outputs) else None,
    )


class FilmInference:
    """Networks, preprocessing contract, views and precision: from films to averaged logits.

    Args:
        networks: Members of the ensemble; taken over: moved to the device, cast to the precision, laid out to answer and no longer
            to be trained.
        preprocessing: The contract from Image to tensor, one for all members.
        precision: What weights and activations are held in; answers are averaged in float64.
        views: See `FilmView`; the film as it is must be the first.
        device: `auto` takes an accelerator where there is one.
    """

    def __init__(
        self,
        networks: Sequence[Classifier],
        preprocessing: Preprocessing,
        *,
        precision: Precision = "float32",
        views: Sequence[FilmView] = AS_IT_IS,
        device: str = "auto",
    ) -> None:
        if not networks or not views or not views[0].identity:
            raise EmptyInput("inference needs at least one network, and views that begin with the film as it is")
        from vesalius.models.packed import pack_for_inference

        self.preprocessing = preprocessing
        self.precision = precision
        self.views = tuple(views)
        self.device = device_of(device)
        self.networks = [network.to(self.device, dtype_of(precision)).eval() for network in networks]
        for network in self.networks:
            pack_for_inference(network)

    def run(self, images: Sequence[Image], *, evidence: bool = False) -> NetworkOutput:
        """Returns what the networks say of `images`, in their order."""
        return self.run_tensor(self.preprocessing.apply(images), evidence=evidence)

    def run_tensor(self, films: Float32[np.ndarray, "case channel height width"], *, evidence: bool = False) -> NetworkOutput:
        """Does the same from what `Preprocessing.apply` made."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(films)).to(self.device)
            black = (0.0 - self.preprocessing.mean) / self.preprocessing.std
            seen = [look(batch, view, black).to(dtype_of(self.precision)) for view in self.views]
            answers = [[network(view) for view in seen] for network in self.networks]
            logits = np.mean([[_numpy(answer.logits) for answer in member] for member in answers], axis=(0, 1))
            features = [np.mean([_numpy(answer.features) for answer in member], axis=0) for member in answers]
            patches = [_numpy(member[0].patch_logits) for member in answers] if evidence else []
        return NetworkOutput(
            logits=logits,
            features=np.concatenate(features, axis=1),
            evidence=np.mean(patches, axis=0).astype(np.float32) if evidence else None,
        )


def look(
    films: Float[torch.Tensor, "case channel height width"], view: FilmView, black: float
) -> Float[torch.Tensor, "case channel height width"]:
    """Returns the films turned and scaled as `view` says; what comes in from outside is `black`."""
    if view.identity:
        return films
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    angle = np.deg2rad(view.rotate_deg)
    cosine, sine = float(np.cos(angle) / view.scale), float(np.sin(angle) / view.scale)
    turn = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=films.dtype, device=films.device)
    grid = affine_grid(turn.expand(len(films), 2, 3), list(films.shape), align_corners=False)
    return grid_sample(films - black, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + black


def _numpy(tensor: torch.Tensor) -> Float64[np.ndarray, "*shape"]:
    array: Float64[np.ndarray, "*shape"] = tensor.detach().double().cpu().numpy()
    return array


def dtype_of(precision: Precision) -> torch.dtype:
    """Returns torch's type of a precision by name.

    Raises:
        BundleError: A precision that is not known.
    """
    import torch

    known: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision not in known:
        raise BundleError(f"precision {precision!r} is not known; expected one of: {', '.join(known)}")
    return known[precision]


def device_of(name: str) -> Any:
    """Returns a torch device by name; `auto` takes an accelerator where there is one.

    Raises:
        ValueOutOfRange: No device of this machine.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # each kind of device raises its own
        words = f"torch has no device {name!r} on this machine; take --device cpu or auto, and see `vesalius doctor`"
        raise ValueOutOfRange(words) from None
    return device
