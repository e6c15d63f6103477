"""What a run of images and words starts from: earlier towers, a text encoder that has read much, a tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.errors import RunError
from vesalius.models.preprocessing import Preprocessing
from vesalius.models.tokenizer import Tokenizer
from vesalius.training.image_text_run import load_image_text_run, load_language_run
from vesalius.training.initialise import read_weights
from vesalius.training.state import save_atomically

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vesalius.models.clip import ImageTextModel
    from vesalius.models.clip_config import ImageTextConfig, TextTower
    from vesalius.models.contracts import Contract
    from vesalius.models.vocabulary_files import TokenizerKind
    from vesalius.training.image_text_options import ImageTextOptions
    from vesalius.training.language_options import LanguageOptions
    from vesalius.training.report_data import Texts

TEXT = "text."
KINDS: dict[str, TokenizerKind] = {"clip": "clip", "bert": "bert", "gpt": "gpt"}
"""Which tokenizer an encoder of words reads, by the first word of its name."""


@dataclass(frozen=True)
class Start:
    """Where a run starts; nothing of it is set for towers of random weights.

    Attributes:
        config: Of both towers.
        text: Of the text encoder alone.
        contract: From film to tensor.
        tokenizer: The bytes of a `tokenizer.json`.
        weights: Of all that `config`, or of the encoder that `text` describes.
        notes: What the user should know.
    """

    config: ImageTextConfig | None = None
    text: TextTower | None = None
    contract: Contract | None = None
    tokenizer: bytes | None = None
    weights: Path | None = None
    notes: tuple[str, ...] = ()

    def contract_for(self, store_size_px: int) -> Contract | None:
        """Returns its contract for films of a store of that size; None if it brings none."""
        if self.contract is None:
            return None
        if isinstance(self.contract, Preprocessing):
            return replace(self.contract, store_size_px=store_size_px)
        return self.contract.through_store(store_size_px)


def begin_from(path: Path) -> Start:
    """Returns the start from an image-text run, or from an image-text bundle.

    Raises:
        RunError, BundleError: Neither of them, or an unfinished run.
    """
    note = f"towers, tokenizer and preprocessing are those of {path.name}"
    if not (path / "bundle.json").is_file():
        run = load_image_text_run(path)
        return Start(run.config, None, run.contract, run.tokenizer, run.weights[0], (note,))
    from vesalius.bundle.format import weights_names
    from vesalius.bundle.image_text import load_image_text

    bundle = load_image_text(path)
    weights = path / weights_names(bundle.members)[0]
    more = (f"of its {bundle.members} checkpoints the first was taken",) if bundle.members > 1 else ()
    return Start(bundle.config, None, bundle.contract, bundle.words.to_bytes(), weights, (note, *more))


def begin_text(path: Path) -> Start:
    """Returns the start of a text encoder from a run of `vesalius train language`.

    Raises:
        RunError: No such run, or an unfinished one.
    """
    run = load_language_run(path)
    note = f"text encoder, tokenizer and context length are those of {path.name}"
    return Start(text=run.text, tokenizer=run.tokenizer, weights=run.weights, notes=(note,))


def load_start(network: ImageTextModel, start: Start) -> None:
    """Puts the weights of a start into the towers.

    Raises:
        RunError: They do not fit.
    """
    if start.weights is None:
        return
    weights = read_weights(start.weights)
    target = network
    if start.text is not None:
        weights = {name.removeprefix(TEXT): tensor for name, tensor in weights.items() if name.startswith(TEXT)}
        target = network.text
    try:
        target.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{start.weights} does not fit the towers that its run or bundle describes; make it again") from error


def make_tokenizer(
    fabric: Fabric, path: Path, options: ImageTextOptions | LanguageOptions, given: bytes | None, words: Texts
) -> Tokenizer:
    """Returns the run's tokenizer, and keeps it at `path`: that of an earlier start of this run, one that was given, or a new one.

    The first process makes it; the others read it.

    Raises:
        EmptyInput: No word is shared by enough patients.
        TokenizerError: A file that is none.
    """
    if fabric.is_global_zero and not path.is_file():
        save_atomically(path, given or _new_tokenizer(options, words).to_bytes())
    fabric.barrier()
    return Tokenizer(path.read_bytes())


def _new_tokenizer(options: ImageTextOptions | LanguageOptions, words: Texts) -> Tokenizer:
    kind = KINDS[options.text.partition("-")[0]]
    if options.tokenizer is not None:
        return Tokenizer.from_file(options.tokenizer, kind=kind)
    spoken = [(text, who) for text, who in zip(words.texts, words.patients, strict=True) if text]
    if not spoken:
        raise RunError("no film has a report, so no words can be learned; pass a --tokenizer, or ingest with reports")
    texts, patients = zip(*spoken, strict=True)
    return Tokenizer.train(
        texts, kind=kind, vocabulary=options.vocabulary, patients=patients, minimum_patients=options.minimum_patients
    )
