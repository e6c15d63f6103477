"""Authors' checkpoints into weights of this package's towers: each file is held to its digest, read strictly and fitted first."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from vesalius.bundle import format as layout
from vesalius.errors import BundleError, CheckpointMismatch, TokenizerError, VesaliusError, WrongDigest
from vesalius.models.checkpoints import IMAGE_TEXT_FAMILIES, FamilyFacts, read_checkpoint
from vesalius.models.contracts import FamilyContract, family_contract
from vesalius.models.public_weights import PublicWeights, cache_folder, public_weights
from vesalius.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from vesalius.models.clip_config import ImageTextConfig
    from vesalius.types import ProgressCallback

Family = Literal["openai-clip", "chexzero", "biomedclip", "mi-zero", "medclip", "biovil"]
"""Families whose checkpoints hold both towers."""

TOKENIZER_KINDS = {
    "openai-clip": "clip",
    "chexzero": "clip",
    "biomedclip": "bert",
    "mi-zero": "bert",
    "medclip": "bert",
    "biovil": "bert",
}
VOCABULARY_FILES = {"clip": "bpe_simple_vocab_16e6.txt.gz", "bert": "vocab.txt"}
"""What the authors call their vocabularies."""
LICENCES = {
    "openai-clip": "MIT",
    "chexzero": "MIT, of the code",
    "biomedclip": "see the page of the model",
    "mi-zero": "CC BY-NC-ND 4.0: not for commercial use",
    "medclip": "none stated",
    "biovil": "see the page of the model",
}
NAMES_SHOWN = 12
"""Tensors of each sort that an error names where the family is wrong; all of them with `--json`."""
OF_NO_FAMILY = "; it is of no other family that is read here either"
PACKED = "pytorch_model.bin"
"""What a zip of MedCLIP holds."""


@dataclass(frozen=True)
class Checkpoints:
    """Authors' files as this package's weights.

    Attributes:
        config: Of both towers, the same for all.
        contract: From film or patch to tensor.
        weights: One safetensors file a checkpoint.
        files: Name, SHA-256 and, where it is known, what the file is; one a checkpoint.
        notes: What the reader of the files found worth saying.
    """

    config: ImageTextConfig
    contract: FamilyContract
    weights: tuple[Path, ...]
    files: tuple[dict[str, str], ...]
    notes: tuple[str, ...]


def import_checkpoints(
    paths: Sequence[Path],
    family: Family,
    folder: Path,
    *,
    sha256: Sequence[str] = (),
    progress: ProgressCallback | None = None,
) -> Checkpoints:
    """Reads checkpoints of one family, in the order given, and writes their weights into `folder`.

    Args:
        paths: The authors' files; several are an ensemble.
        family: Whose layout they have.
        folder: Where the converted weights go.
        sha256: What each file must hash to, in order; none, or one a file.
        progress: Called as files are read.

    Raises:
        BundleError: No such file, or two that do not belong together.
        CheckpointUnreadable: A file that holds code, or is broken.
        WrongDigest: A file is not the one it is said to be.
        CheckpointMismatch: A file of another layout; the message begins with the family it is of, where one is found.
    """
    if family not in get_args(Family):
        raise BundleError(f"no checkpoint of family {family!r} holds both towers; there are: {', '.join(get_args(Family))}")
    if sha256 and len(sha256) != len(paths):
        raise WrongDigest(f"{len(sha256)} digests were given for {len(paths)} files; give --sha256 once a file, in their order")
    if not paths:
        raise BundleError("no checkpoint was given; `vesalius bundle import FILE --family NAME --tokenizer FILE --out BUNDLE`")
    files = [_identify(path, family, sha256[number] if sha256 else None) for number, path in enumerate(paths)]
    _check_different(files)
    members = group_files(paths, family)
    configs: list[ImageTextConfig] = []
    notes: list[str] = []
    weights = [folder / f"weights-{number}.safetensors" for number in range(1, len(members) + 1)]
    for number, member in enumerate(members):
        config, state, facts = _read(member, family)
        if configs and config != configs[0]:
            raise BundleError(
                f"{member[0].name} and {members[0][0].name} have networks of different sizes; an ensemble needs the same: "
                "import each alone"
            )
        configs.append(config)
        _keep(state, weights[number])
        notes += [note for note in facts.notes if note not in notes]
        if progress is not None:
            progress(number + 1, len(members))
    contract = family_contract(family).at_size(configs[0].vision.size_px)
    return Checkpoints(configs[0], contract, tuple(weights), tuple(files), tuple(notes))


def group_files(paths: Sequence[Path], family: Family) -> list[tuple[Path, ...]]:
    """Returns the files of each checkpoint: one, or for a family whose towers lie in two files both, or the folder with them."""
    if family == "biovil" and not any(path.is_dir() for path in paths):
        return [tuple(paths)]
    return [(path,) for path in paths]


def find_tokenizer(paths: Sequence[Path], family: Family) -> Path | None:
    """Returns the vocabulary that lies beside a family's checkpoints, or that `vesalius pull` has fetched for them, if any.

    Of MI-Zero nothing is taken that was fetched: its checkpoints are of two vocabularies.
    """
    kind = TOKENIZER_KINDS[family]
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in paths)
    beside = [folder / name for folder in folders for name in (VOCABULARY_FILES[kind], "tokenizer.json")]
    table = {weights.name: weights for weights in public_weights()}
    named = {weights.tokenizer for weights in table.values() if weights.family == family and weights.tokenizer}
    named |= {"clip-vocabulary"} if kind == "clip" else set()
    fetched = [cache_folder() / table[name].file for name in sorted(named)] if len(named) == 1 else []
    return next((path for path in (*beside, *fetched) if path.is_file()), None)


def choose_tokenizer(
    given: Path | None, paths: Sequence[Path], family: Family, config: ImageTextConfig, *, smaller: bool = False
) -> tuple[Tokenizer | None, list[str]]:
    """Returns the tokenizer that was given, or one that was found; None where there is none, and what a user should know of it.

    Raises:
        TokenizerError: As `read_tokenizer`.
    """
    path = given or find_tokenizer(paths, family)
    if path is None:
        file = VOCABULARY_FILES[TOKENIZER_KINDS[family]]
        doing = f"import again with --tokenizer {file}, the authors' own vocabulary, or put it beside the checkpoint"
        return None, [f"no tokenizer: the bundle embeds films and patches, and no words can be asked of it; {doing}"]
    tokenizer, warnings = read_tokenizer(path, family, config, smaller=smaller)
    where = "among what was pulled" if path.parent == cache_folder() else "beside the checkpoint"
    return tokenizer, [*([] if given else [f"its tokenizer was not given: {path.name} was found {where}"]), *warnings]


def read_tokenizer(path: Path, family: Family, config: ImageTextConfig, *, smaller: bool = False) -> tuple[Tokenizer, list[str]]:
    """Returns the family's tokenizer and what a user should know of it.

    Args:
        path: The authors' vocabulary.
        family: Decides the kind and the case.
        config: Its text tower's embedding must have a row a token.
        smaller: Take a tokenizer of fewer tokens than the embedding has rows.

    Raises:
        TokenizerError: Another kind, more tokens than rows, or fewer without `smaller`.
    """
    rule = family_contract(family).text
    tokenizer = Tokenizer.from_file(path, lower_case=None if rule is None else rule.lower_case)
    if tokenizer.kind != TOKENIZER_KINDS[family]:
        raise TokenizerError(
            f"{path.name} is a vocabulary of kind {tokenizer.kind}; checkpoints of {family} read {TOKENIZER_KINDS[family]}: "
            "pass the tokenizer that the checkpoint was trained with"
        )
    rows, warnings = int(config.text.settings["vocab_size"]), []
    if tokenizer.vocabulary != rows:
        about = f"the tokenizer has {tokenizer.vocabulary} tokens and the checkpoint's embedding {rows} rows"
        if tokenizer.vocabulary > rows or not smaller:
            own_doing = (
                "; MI-Zero's file with Bio_ClinicalBERT has 30522 rows and was read with that model's 28996 tokens by its authors: "
                "if this is it, add --smaller-vocabulary"
            )
            known = own_doing if tokenizer.vocabulary < rows and family == "mi-zero" else ""
            raise TokenizerError(
                f"{about}: ids would point at the words of another model; pass the tokenizer it was trained with{known}"
            )
        warnings.append(f"{about}; it was imported so on purpose")
    if rule is not None and rule.lower_case and _tells_capitals(tokenizer):
        warnings.append(
            "the authors' tokenizer reads capitals as small letters and this one does not: pass their vocab.txt instead"
        )
    return tokenizer, warnings


def _tells_capitals(tokenizer: Tokenizer) -> bool:
    big, small = (tokenizer.encode([word], 99, too_long="cut").tokens for word in ("Effusion", "effusion"))
    return bool((big != small).any())


def _identify(path: Path, family: Family, expected: str | None) -> dict[str, str]:
    """Returns name and digest of a file, once it is what it is said to be."""
    if not path.exists():
        raise BundleError(f"no checkpoint at {path}; pass the authors' own file")
    got = layout.digest_file(path) if path.is_file() else _digest_folder(path)
    if expected is not None and got != expected.lower():
        raise WrongDigest(f"{path.name} has SHA-256 {got}; --sha256 says {expected.lower()}: it is another file")
    known = next((line for line in public_weights() if line.sha256 == got), None)
    if known is not None and known.family != family:
        raise BundleError(f"{path.name} is {known.what} by its SHA-256, {_what_to_do(known, family)}")
    return {"name": path.name, "sha256": got, "note": known.what if known is not None else ""}


def _what_to_do(known: PublicWeights, family: Family) -> str:
    """Returns the rest of a sentence on a published file that is no checkpoint of the family."""
    if known.family is not None:
        return f"no checkpoint of {family}: use --family {known.family}"
    if known.name in {line.tokenizer for line in public_weights()}:
        return "no checkpoint: give it with --tokenizer, beside the checkpoint it belongs to"
    return "which is not read here; see docs/checkpoints.md for what is"


def _digest_folder(path: Path) -> str:
    parts = [
        f"{file.relative_to(path).as_posix()} {layout.digest_file(file)}\n" for file in sorted(path.rglob("*")) if file.is_file()
    ]
    return layout.digest("".join(parts).encode())


def _check_different(files: Sequence[dict[str, str]]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        if file["sha256"] in seen:
            raise BundleError(
                f"{file['name']} and {seen[file['sha256']]} are the same file; an ensemble needs different checkpoints"
            )
        seen[file["sha256"]] = file["name"]


def _read(member: tuple[Path, ...], family: Family) -> tuple[ImageTextConfig, dict[str, Tensor], FamilyFacts]:
    with _unpacked(member) as files:
        try:
            return read_checkpoint(files, family)
        except CheckpointMismatch as error:
            names, told = ", ".join(path.name for path in member), _what_it_is(files, family, error)
            error.args = (f"{names} is no checkpoint of {family}: {told or error.args[0] + OF_NO_FAMILY}",)
            error.shown = NAMES_SHOWN if told else None  # hundreds of names would hide the line that helps
            raise


def _what_it_is(files: tuple[Path, ...], wrong: Family, error: CheckpointMismatch) -> str:
    """Returns the family whose layout the file has, or is nearest to, and what to type; empty where it is of no other family.

    All families that share the layout are named.
    """
    modules = dict.fromkeys(IMAGE_TEXT_FAMILIES.values())
    modules.pop(IMAGE_TEXT_FAMILIES[wrong])  # just found not to be the file's
    nearest, differ = "", error.count // 2
    for module in modules:
        families = [family for family, its in IMAGE_TEXT_FAMILIES.items() if its == module]
        try:
            read_checkpoint(files, families[0])
        except CheckpointMismatch as other:
            if other.count < differ and not any("*" in name for name in other.missing):  # a star: half of it is not there
                nearest, differ = families[0], other.count
        except VesaliusError:
            continue
        else:
            error.remark = ""  # of the sizes that could not be told
            return f"it reads as a checkpoint of {' or '.join(families)}: try --family {' or --family '.join(families)}"
    if nearest:
        return f"it is nearest to {nearest}, from which {differ} tensors differ: --family {nearest} names them"
    return ""


@contextmanager
def _unpacked(member: tuple[Path, ...]) -> Iterator[tuple[Path, ...]]:
    """Yields the checkpoint itself, out of the zip that MedCLIP comes in; a file of torch is a zip too, and is left alone."""
    path, inside = member[0], []
    if len(member) == 1 and path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist() if name.rpartition("/")[2] == PACKED]
    if len(inside) != 1:
        yield member
        return
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        yield (Path(archive.extract(inside[0], folder)),)


def _keep(state: dict[str, Tensor], target: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in sorted(state.items())}, target)
