"""`vesalius VERB`: one file a verb, imported only when it is called.

A verb's module holds one frozen dataclass `Command`: the same object is the command, its help and, where
a run must be reproduced, the saved settings. `Command.run()` returns the exit code.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_GATE_REFUSED = 0, 2, 3, 4

VERBS = {
    "demo": ("vesalius.cli.demo", "the whole job on simulated films: read, logits, calibrate, decide, report"),
    "doctor": ("vesalius.cli.doctor", "what works on this machine: device, decoders, optional parts, disk"),
    "ingest": ("vesalius.cli.ingest", "films and their labels into one store"),
    "train classifier": ("vesalius.cli.train_classifier", "a classifier from a store"),
    "train image-text": ("vesalius.cli.train_image_text", "encoders of films and of words, from films and their reports"),
    "train language": ("vesalius.cli.train_language", "an encoder of words, from reports alone"),
    "train prompts": ("vesalius.cli.train_prompts", "prompts from class labels alone, over frozen towers, and the few-shot curve"),
    "train sweep": ("vesalius.cli.train_sweep", "image-text runs over learning rates, batches and epochs; the best as an ensemble"),
    "calibrate": ("vesalius.cli.calibrate", "a run, or words, into a locked bundle: calibrators, thresholds, abstention, OOD gate"),
    "predict": ("vesalius.cli.predict", "a bundle over films or slides: one JSON line a case, heat maps, DICOM SR"),
    "features": ("vesalius.cli.features", "slides into files of patch features, as CLAM and TRIDENT read them"),
    "zeroshot": ("vesalius.cli.zeroshot", "films and slides read by words: any findings you type, as contrasts; heat maps"),
    "audit": ("vesalius.cli.audit", "how far to trust a bundle: metrics with intervals, subgroups, sites, OOD"),
    "uq": ("vesalius.cli.uq", "any model's outputs in a CSV or .npz: calibration, abstention, a decision rule; no model needed"),
    "bundle import": ("vesalius.cli.bundle_import", "authors' checkpoints of images and words into a bundle"),
    "bundle inspect": ("vesalius.cli.bundle_inspect", "what is in a bundle"),
    "bundle verify": ("vesalius.cli.bundle_verify", "is it the bundle it says it is?"),
    "pull": ("vesalius.cli.pull", "public weights and vocabularies by name, verified and cached"),
}


def overview() -> str:
    """Returns the text of `vesalius --help`."""
    lines = [
        "vesalius: any medical-imaging model in, an honest finding out.",
        "",
        "  read -> logits -> calibrate -> decide -> report",
        "",
        "usage: vesalius VERB [--help] ...",
        "",
    ]
    width = max(map(len, VERBS)) + 2
    lines += [f"  {verb:<{width}}{what}" for verb, (_, what) in VERBS.items()]
    lines += [
        "",
        "New here? `vesalius demo --out demo` needs no data and takes a few minutes.",
        "Research software; not for medical use.",
    ]
    return "\n".join(lines)


def find_verb(arguments: Sequence[str]) -> tuple[str, list[str]] | None:
    """Splits `arguments` into the longest known verb and the rest; None if there is none."""
    for words in (2, 1):
        verb = " ".join(arguments[:words])
        if len(arguments) >= words and verb in VERBS:
            return verb, list(arguments[words:])
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code: 0 done, 2 wrong usage, 3 some cases failed, 4 a gate refused."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(overview())
        return EXIT_OK if arguments else EXIT_USAGE
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"vesalius {version('vesalius')}")
        return EXIT_OK
    found = find_verb(arguments)
    if found is None:
        deeper = [verb for verb in VERBS if verb.startswith(f"{arguments[0]} ")]
        hint = f"one of: {', '.join(deeper)}" if deeper else "see `vesalius --help` for the verbs"
        print(f"vesalius: unknown verb {' '.join(arguments[:2])!r}; {hint}", file=sys.stderr)
        return EXIT_USAGE
    return run_verb(*found)


def parse(verb: str, arguments: list[str]) -> Any:
    """Returns the verb's command with its arguments; `--help` and a wrong usage end the program here."""
    import tyro

    from vesalius.cli.arguments import CONFIG, registry

    module = import_module(VERBS[verb][0])
    # a verb may read its own defaults from a file named among the arguments: `train classifier --config RUN/run.toml`
    default = module.defaults(arguments) if hasattr(module, "defaults") else None
    given = {} if default is None else {"default": default}
    # a flag of several words that is given twice would lose those of the first time: `zeroshot --finding a --finding b`
    arguments = module.arrange(arguments) if hasattr(module, "arrange") else arguments
    with registry():
        return tyro.cli(module.Command, prog=f"vesalius {verb}", args=arguments, config=CONFIG, **given)


def run_verb(verb: str, arguments: list[str]) -> int:
    """Parses `arguments` for `verb`, runs it, and turns what a user can mend into one clear line."""
    from vesalius.errors import GateRefused, MissingDependency, VesaliusError

    command = None
    try:
        try:
            command = parse(verb, arguments)
            code = command.run()
        except ModuleNotFoundError as error:
            raise MissingDependency.of(error, f"`vesalius {verb}`") or error from error
    except VesaliusError as error:
        code = EXIT_GATE_REFUSED if isinstance(error, GateRefused) else EXIT_USAGE
        if getattr(command, "json", False):
            print(json.dumps({"error": {"code": error.code, "message": str(error)} | error.details()}))
        print(f"vesalius {verb}: {error}", file=sys.stderr)
    except BrokenPipeError:
        # whoever read our words has gone (`| head`); Python must not try to flush into the closed pipe at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"\nvesalius {verb}: stopped; run the same command again to go on.", file=sys.stderr)
        return 130
    return int(code)
