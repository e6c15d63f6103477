"""The bundle of kind `image-text`: two towers, their tokenizer and their preprocessing contract, for any words a user may type.

It has no findings, no calibrator, no threshold: it answers `vesalius zeroshot` with contrasts, which are no probabilities.
`vesalius calibrate` makes a bundle of kind `zero-shot` of it, which answers like any other.

    bundle.json                 both towers' configuration, preprocessing contract, family, tokenizer, provenance
    weights.safetensors         both towers; weights-1, weights-2 ... for an ensemble of checkpoints
    tokenizer.json              how words become ids; a bundle without one embeds films and patches and cannot be asked
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vesalius.bundle import format as layout
from vesalius.bundle.save import save_bundle
from vesalius.bundle.verify import VerifiedBundle, verify
from vesalius.errors import BundleError, TokenizerError, VesaliusError
from vesalius.models.clip_config import ImageTextConfig
from vesalius.models.contracts import Contract, FamilyContract, TextRule, contract_from_json
from vesalius.models.tokenizer import Encoded, Tokenizer, TooLong

if TYPE_CHECKING:
    from vesalius.bundle.film_words import WordMemory
    from vesalius.models.clip import ImageTextModel


@dataclass(frozen=True)
class ImageTextBundle:
    """A bundle of two towers that was verified; made by `vesalius.load`.

    Attributes:
        path: Its folder; weights are read from it when they are first needed.
        description: What `bundle.json` says.
        id: SHA-256 of the bundle's MANIFEST.json, in hex.
        config: Of both towers.
        contract: From film or patch to tensor.
        tokenizer: From words to ids; None in a bundle that was made without one, which cannot be asked in words.
    """

    path: Path
    description: dict[str, Any]
    id: str
    config: ImageTextConfig
    contract: Contract
    tokenizer: Tokenizer | None

    @property
    def name(self) -> str:
        """The bundle's name."""
        return str(self.description["name"])

    @property
    def reference(self) -> str:
        """Name and the first 12 hex digits of the id, as every answer carries it."""
        return layout.reference(self.name, self.id)

    @property
    def family(self) -> str:
        """Whose checkpoint it was made of; `vesalius` for one that was trained here."""
        return str(self.description["family"])

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that must stand wherever its figures are shown."""
        return tuple(self.description["notices"])

    @property
    def members(self) -> int:
        """Number of checkpoints."""
        return int(self.description["averaging"]["members"])

    @property
    def text_rule(self) -> TextRule:
        """How sentences become ids for these towers."""
        rule = self.contract.text if isinstance(self.contract, FamilyContract) else None
        return replace(rule or TextRule(1), context_length=self.config.text.context_length)

    @cached_property
    def models(self) -> tuple[ImageTextModel, ...]:
        """Every checkpoint at once, on the CPU, ready to answer; `each_model` needs the memory of one."""
        return tuple(self.each_model())

    @cached_property
    def memory(self) -> WordMemory:
        """Sentences embedded and towers made ready so far, kept for the next question."""
        from vesalius.bundle.film_words import WordMemory

        return WordMemory(self)

    def each_model(self) -> Iterator[ImageTextModel]:
        """Yields the checkpoints one after the other, in order; each is read when its turn comes.

        Raises:
            BundleError: Weights that do not fit the configuration.
        """
        from safetensors.torch import load_file

        for name in layout.weights_names(self.members):
            model = build_unfilled(self.config)
            try:
                model.load_state_dict(load_file(self.path / name))
            except RuntimeError as error:
                raise BundleError(f"{name} of {self.path} does not fit its configuration; import the checkpoint again") from error
            yield model.eval().requires_grad_(False)

    def encode(self, texts: Sequence[str], *, too_long: TooLong = "error") -> Encoded:
        """Returns ids and mask of sentences, prepared as the checkpoint's authors do.

        Raises:
            EmptyInput: No sentence.
            TextTooLong: A sentence of more tokens than the text tower reads.
            TokenizerError: The bundle was made without a tokenizer; or a sentence holds a marker of it, such as its end.
        """
        words, rule = self.words, self.text_rule
        prepared = [rule.prepare(text) for text in texts]
        try:
            return words.encode(prepared, rule.context_length, too_long=too_long, padding=rule.padding)
        except TokenizerError as error:
            if len(texts) > 1:  # which of them: they are the asker's own words, no report's
                for text in texts:
                    self.encode([text], too_long="cut")
            raise TokenizerError(f"{texts[0]!r} cannot be asked: {error}") from error

    @property
    def words(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            TokenizerError: The bundle was made without one.
        """
        if self.tokenizer is None:
            raise TokenizerError(
                f"{self.reference} was made without a tokenizer: it embeds films and patches, and words cannot be asked of it; "
                "import the checkpoint again with --tokenizer FILE, its authors' vocabulary"
            )
        return self.tokenizer

    def predict(self, *_: object, **__: object) -> NoReturn:
        """Refuses: there are no findings, no calibrator and no thresholds here.

        Raises:
            BundleError: Always, with what to do.
        """
        raise BundleError(refusal(self.reference))


def build_unfilled(config: ImageTextConfig) -> ImageTextModel:
    """Returns towers whose weights are whatever was in memory, to be loaded next, strictly."""
    from vesalius.models.clip import ImageTextModel
    from vesalius.models.image_tower import no_random_weights

    with no_random_weights():
        return ImageTextModel(config)


def refusal(reference: str) -> str:
    """Returns why a bundle of this kind does not answer `predict`."""
    return (
        f"{reference} is of kind image-text: its scores are contrasts, not probabilities, and it has no findings of its own; "
        "ask it with `vesalius zeroshot`, or calibrate prompts into a bundle with `vesalius calibrate`"
    )


def save_image_text(  # noqa: PLR0913  # one keyword an entry of bundle.json
    path: str | Path,
    *,
    name: str,
    config: ImageTextConfig,
    weights: Sequence[bytes | Path],
    tokenizer: bytes | None,
    contract: Contract,
    family: str,
    provenance: dict[str, Any],
    notices: Sequence[str] = (),
    overwrite: bool = False,
) -> str:
    """Writes a bundle of kind `image-text` and returns its id; the same content gives the same bytes.

    Args:
        path: Its folder, to be made.
        name: In every answer.
        config: Of both towers.
        weights: One safetensors file a checkpoint, or where it lies: the state of an `ImageTextModel`.
        tokenizer: A `tokenizer.json`; None makes a bundle that embeds films and patches and cannot be asked in words.
        contract: From film or patch to tensor.
        family: Whose checkpoint it is; `vesalius` for one that was trained here.
        provenance: Where weights and words come from; no place on this machine, no patient.
        notices: Sentences that must stand wherever its figures are shown.
        overwrite: Replace a bundle that is there.

    Raises:
        BundleError: A name that cannot be a file's, no weights, or something is there already.
        TokenizerError: The tokenizer has ids that the token embedding has no row for.
    """
    from vesalius.bundle.describe import software

    layout.check_name(name)
    if not weights:
        raise BundleError("an image-text bundle needs at least one checkpoint; none was given")
    words = None if tokenizer is None else Tokenizer(tokenizer)
    if words is not None:
        check_vocabulary(words, config)
    description = {
        "format": layout.FORMAT,
        "kind": layout.IMAGE_TEXT,
        "name": name,
        "notices": list(notices),
        "family": family,
        "encoder": config.to_json(),
        "preprocessing": contract.to_json(),
        "text": None if words is None else _about(words, config),
        "averaging": {"members": len(weights)},
        "provenance": {**provenance, "software": {**software(), **_tokenizers_version()}},
    }
    extra = {} if tokenizer is None else {layout.TOKENIZER: tokenizer}
    return save_bundle(path, description, weights=weights, statistics=None, extra=extra, overwrite=overwrite)


def load_image_text(path: str | Path) -> ImageTextBundle:
    """Loads a bundle of kind `image-text` once every file of it was verified.

    Raises:
        BundleChanged: A file was changed, is missing, is extra or is a link; the message names it.
        BundleError: No bundle there, or one of another kind.
    """
    verified = verify(path)
    if verified.kind != layout.IMAGE_TEXT:
        raise BundleError(
            f"{verified.reference} is of kind {verified.kind}; expected image-text: make one with `vesalius bundle import`"
        )
    return open_image_text(verified)


def open_image_text(verified: VerifiedBundle) -> ImageTextBundle:
    """Returns the bundle of files that were verified; weights are read when they are first needed."""
    description = verified.description
    try:
        config = ImageTextConfig.from_json(description["encoder"])
        contract = contract_from_json(description["preprocessing"])
        mute = description["text"] is None
        tokenizer = None if mute else Tokenizer((verified.path / layout.TOKENIZER).read_bytes())
        int(description["averaging"]["members"])
    except VesaliusError:
        raise
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BundleError(f"the bundle at {verified.path} does not fit together ({error}); import the checkpoint again") from error
    return ImageTextBundle(verified.path, description, verified.id, config, contract, tokenizer)


def check_vocabulary(tokenizer: Tokenizer, config: ImageTextConfig) -> None:
    """Refuses a tokenizer whose ids reach beyond the token embedding.

    Raises:
        TokenizerError: The message has both numbers.
    """
    rows = int(config.text.settings["vocab_size"])
    if tokenizer.vocabulary > rows:
        raise TokenizerError(
            f"the tokenizer has {tokenizer.vocabulary} tokens and the checkpoint's embedding {rows} rows: it is another model's; "
            "pass the tokenizer that the checkpoint was trained with"
        )


def _about(words: Tokenizer, config: ImageTextConfig) -> dict[str, Any]:
    about = {"tokenizer": words.kind, "sha256": words.sha256, "vocabulary": words.vocabulary}
    return {**about, "context_length": config.text.context_length}


def _tokenizers_version() -> dict[str, str]:
    from importlib.metadata import version

    return {"tokenizers": version("tokenizers")}
