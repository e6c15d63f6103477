"""One exception for each thing a user can mend.

Every class has a `code`: the word that stands in `rejects.csv` and in the `error` of a prediction.
A message says what was got, what was expected and the next step, and never quotes a DICOM value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

PLACES_NAMED = 5


def name_places(numbers: Sequence[int], word: str = "line") -> str:
    """Returns "line 3" or "lines 3, 4, 9 and 12 more": where to look, without what stands there."""
    shown = ", ".join(map(str, numbers[:PLACES_NAMED]))
    rest = f" and {len(numbers) - PLACES_NAMED} more" if len(numbers) > PLACES_NAMED else ""
    return f"{word}{'s' if len(numbers) > 1 else ''} {shown}{rest}"


class VesaliusError(Exception):
    """Anything this package raises for a user to mend."""

    code: ClassVar[str] = "error"

    def details(self) -> dict[str, Any]:
        """Returns what `--json` says of it beside code and message; nothing of most."""
        return {}


class UnreadableImage(VesaliusError):
    """A file that cannot become an Image; a batch records it and goes on."""

    code = "unreadable"


class FileMissing(UnreadableImage):
    """No file at that path."""

    code = "file_missing"


class NotAnImage(UnreadableImage):
    """Neither DICOM, PNG nor JPEG."""

    code = "not_an_image"


class NotDicom(UnreadableImage):
    """A DICOM file was needed."""

    code = "not_dicom"


class TruncatedFile(UnreadableImage):
    """The file ends before its pixels do."""

    code = "truncated"


class NoPixelData(UnreadableImage):
    """A DICOM object without pixels (a report, a directory)."""

    code = "no_pixel_data"


class WrongPixelLength(UnreadableImage):
    """The pixel data's length does not agree with rows, columns and depth."""

    code = "wrong_pixel_length"


class TooLarge(UnreadableImage):
    """More pixels than any radiograph has: refused before decoding."""

    code = "too_large"


class ZeroSpread(UnreadableImage):
    """Every pixel has the same value."""

    code = "zero_spread"


class MultiFrame(UnreadableImage):
    """More than one frame where one film is expected."""

    code = "multi_frame"


class UnsupportedEncoding(UnreadableImage):
    """A transfer syntax, photometric interpretation or depth that cannot be read here."""

    code = "unsupported_encoding"


class CorruptStream(UnreadableImage):
    """Compressed pixels that no decoder accepts."""

    code = "corrupt_stream"


class MaskMismatch(UnreadableImage):
    """A film's mask cannot be read, or has another shape than the film."""

    code = "mask_mismatch"


class DuplicatePath(UnreadableImage):
    """Another file of the same name and site is in the store already."""

    code = "duplicate_path"


class DecoderCrashed(UnreadableImage):
    """The process that read the file died with it."""

    code = "decoder_crashed"


class DuplicateImage(UnreadableImage):
    """The same pixels are in the store already."""

    code = "duplicate_image"


class UnsupportedModality(UnreadableImage):
    """A DICOM modality that is not a projection radiograph."""

    code = "unsupported_modality"


class MissingSpacing(UnreadableImage):
    """A slide or volume that does not say how large its pixels are, where the size decides the answer."""

    code = "missing_spacing"


class OtherKind(UnreadableImage):
    """A film given to a bundle that reads slides, or a slide to one that reads films."""

    code = "other_kind"


class ShapeMismatch(VesaliusError, ValueError):
    """Two arrays that belong together differ in shape."""

    code = "shape_mismatch"


class ValueOutOfRange(VesaliusError, ValueError):
    """A number that cannot be what it is said to be: a NaN score, a label of 3, a probability above 1."""

    code = "value_out_of_range"


class EmptyInput(VesaliusError, ValueError):
    """No case, or no known label, where at least one is needed."""

    code = "empty_input"


class NotFitted(VesaliusError, RuntimeError):
    """A statistic was asked for before it was fitted; the message names the missing call."""

    code = "not_fitted"


class NotEstimable(VesaliusError, ValueError):
    """The data cannot carry this estimate (one class only, fewer cases than dimensions)."""

    code = "not_estimable"


class LabelsError(VesaliusError, ValueError):
    """A labels table that cannot be used as it is."""

    code = "labels"


class OutputsError(VesaliusError, ValueError):
    """A file of model outputs (`vesalius uq`) that cannot be used as it is."""

    code = "outputs"


class RuleError(VesaliusError, ValueError):
    """A decision rule that cannot be read, or does not fit what it is asked about."""

    code = "rule"


class StoreError(VesaliusError):
    """A store that is missing, unfinished or made with other settings."""

    code = "store"


class RunError(VesaliusError):
    """A training run that is missing, unfinished or does not fit the request."""

    code = "run"


class LossNotFinite(RunError):
    """The loss stopped being a number: the learning rate is too high, or the precision too low."""

    code = "loss_not_finite"


class BundleError(VesaliusError):
    """A bundle that cannot be loaded."""

    code = "bundle"


class BundleChanged(BundleError):
    """A file in the bundle is not what the manifest says, is missing, or is extra."""

    code = "bundle_changed"


class FeaturesError(VesaliusError):
    """A file of slide features that cannot be read, or that another encoder or another cut of the slide made."""

    code = "features"


class TokenizerError(VesaliusError, ValueError):
    """A vocabulary that cannot be read, or that does not belong to the model it is given to."""

    code = "tokenizer"


class TextTooLong(VesaliusError, ValueError):
    """A sentence of more tokens than the model was made for."""

    code = "text_too_long"


class PromptsError(VesaliusError, ValueError):
    """A prompt file that cannot be read, or prompts that cannot be asked."""

    code = "prompts"


class CheckpointMismatch(VesaliusError, ValueError):
    """An authors' checkpoint whose tensors are not those of its family; every one that differs is named.

    Attributes:
        missing: Names of tensors that the family has and the file has not.
        unexpected: Names of tensors that the file has and the family has no place for.
        reshaped: Names of tensors of another shape than the others ask for.
        shapes: What shape each of the last has, and which it should have where that is known.
        remark: What to know beside the names.
        shown: How many names of each sort the message tells; None: all. The attributes hold all of them.
    """

    code = "checkpoint_mismatch"

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        reshaped: Mapping[str, str] | None = None,
        remark: str = "",
    ) -> None:
        super().__init__(message)
        self.shapes = dict(reshaped or {})
        self.missing, self.unexpected, self.reshaped = tuple(missing), tuple(unexpected), tuple(self.shapes)
        self.remark = remark
        self.shown: int | None = None

    def __str__(self) -> str:
        names = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "reshaped": tuple(f"{name} is {shape}" for name, shape in self.shapes.items()),
        }
        lines = [f"  {sort} ({len(all_)}): {self._in_short(all_)}" for sort, all_ in names.items() if all_]
        cut = self.shown is not None and any(len(all_) > self.shown for all_ in names.values())
        every = ["  every name: the same command with --json"] if cut else []
        return "\n".join([super().__str__(), *lines, *([f"  {self.remark}"] if self.remark else []), *every])

    def _in_short(self, names: Sequence[str]) -> str:
        shown = len(names) if self.shown is None else self.shown
        return "; ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")

    @property
    def count(self) -> int:
        """How many tensors differ."""
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def details(self) -> dict[str, Any]:
        """Returns every name that differs, with the shapes."""
        return {"missing": list(self.missing), "unexpected": list(self.unexpected), "reshaped": self.shapes}


class CheckpointUnreadable(VesaliusError):
    """A checkpoint file that is missing, broken, or holds more than tensors."""

    code = "checkpoint_unreadable"


class DownloadFailed(VesaliusError):
    """A public file that could not be fetched; what came so far is kept."""

    code = "download_failed"


class WrongDigest(VesaliusError, ValueError):
    """A file whose SHA-256 is not the expected one."""

    code = "wrong_digest"


class GatesError(VesaliusError, ValueError):
    """A gates file that cannot be read, or names a figure that no audit has."""

    code = "gates"


class GateRefused(VesaliusError):
    """A gate of the audit was not met."""

    code = "gate_refused"


class MissingDependency(VesaliusError, ImportError):
    """An optional part is not installed; the message has the command that installs it."""

    code = "missing_dependency"

    @classmethod
    def of(cls, error: ModuleNotFoundError, what: str) -> MissingDependency | None:
        """Returns the error to raise where `what` met a module that one of the extras brings; None for any other module."""
        module = (error.name or "").partition(".")[0]
        extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
        if extra is None:
            return None
        return cls(f"{what} needs {module}, which is not installed here; get it with: pip install 'vesalius[{extra}]'")


EXTRAS = {
    "films": (
        "torch",
        "transformers",
        "tokenizers",
        "yaml",
        "monai",
        "lightning_fabric",
        "safetensors",
        "pandas",
        "pyarrow",
        "h5py",
        "PIL",
        "pydicom",
        "highdicom",
        "gdcm",
        "pylibjpeg",
        "openjpeg",
        "jpeg_ls",
        "tomli_w",
        "matplotlib",
        "nibabel",
    ),
    "slides": ("openslide", "openslide_bin", "tifffile", "imagecodecs"),
}
"""Modules that are not there after a plain `pip install vesalius`, under the extra of pyproject.toml that brings them."""
