"""What hangs on how words are asked: denying a denial, 50 draws of the wording, and contrasts before and after calibration.

    python benchmarks/words_asked.py --work DIR [--bundle words-clip]

Goes on from the towers and films of `simulated_words.py`. The films are those of site B, which taught nothing; calibration takes
site A's calibration split. Every virtual patient descends from one CT.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import vesalius as vs
from simulated_words import FINDINGS, Films, Words, call, films_of
from vesalius.metrics import bootstrap_ranking
from vesalius.zeroshot.heads import build_head, contrast, embed_texts, texts_of
from vesalius.zeroshot.prompt_file import load_prompts
from vesalius.zeroshot.prompt_sets import draw_prompt_sets
from vesalius.zeroshot.prompts import prompts_for

SETS = 50


def scores(words: Words, prompts: Any) -> np.ndarray:
    """Contrasts of every film with every finding that is asked."""
    table = embed_texts(words.bundle.models[0], words.bundle.encode, texts_of([prompts]))
    return np.asarray(contrast(words.films, build_head(table, prompts, average="embeddings")), dtype=float)


def no_finding(words: Words, films: Films) -> dict[str, Any]:
    """AUROC of No Finding, asked as sentences of normality, and letter for letter against "no No Finding"."""
    normal = (films.labels == 0).all(axis=1).astype(float)
    normal[np.isnan(films.labels).any(axis=1)] = np.nan
    turned = scores(words, prompts_for(["No Finding"]))
    letter = (words.near(["No Finding"]) - words.near(["no No Finding"]))[:, None]
    found = {"turned round": turned, "letter for letter": letter}
    return {name: bootstrap_ranking(normal[:, None], one, films.patients).auroc[0].to_json() for name, one in found.items()}


def spread(words: Words, films: Films) -> dict[str, Any]:
    """AUROC over draws of wordings from the package's prompts for NIH's findings."""
    asked = load_prompts("nih")
    named = {name.lower(): name for name in asked.findings}
    there = [named.get(name.lower()) or named[name.lower().removeprefix("pleural ")] for name in FINDINGS]
    asked = asked.only(there)
    order = [asked.findings.index(name) for name in there]
    sets = [scores(words, one)[:, order] for one in draw_prompt_sets(asked, n_sets=SETS, seed=0)]
    ranked = [
        bootstrap_ranking(films.labels, one, films.patients, resamples=100) for one in [*sets, scores(words, asked)[:, order]]
    ]
    each = np.array([[*(cell.value for cell in one.auroc), one.macro_auroc.value] for one in ranked], dtype=float)
    rows = {}
    for at, name in enumerate((*FINDINGS, "macro")):
        least, low, middle, high, greatest = np.percentile(each[:-1, at], [0, 25, 50, 75, 100])
        rows[name] = {
            "least": least,
            "lower": low,
            "median": middle,
            "upper": high,
            "greatest": greatest,
            "all words": each[-1, at],
        }
    return rows


def calibrated(work: Path, bundle: str) -> dict[str, Any]:
    """The audit of the towers calibrated on site A, by the command line."""
    locked, report = work / f"{bundle}-locked", work / f"{bundle}-report"
    if not locked.exists():
        call("calibrate {} --store {} --prompts chexpert --out {} --sites A", work / bundle, work / "store", locked)
    if not (report / "audit.json").exists():
        call("audit {} --store {} --out {}", locked, work / "store", report)
    found: dict[str, Any] = json.loads((report / "audit.json").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the folder of simulated_words.py")
    parser.add_argument("--bundle", default="words-clip")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    films = films_of(arguments.work, arguments.work / "store", "B", None)
    words = Words(vs.load(arguments.work / arguments.bundle), films.images)
    result = {"no finding": no_finding(words, films), "spread": spread(words, films)}
    for name, cell in result["no finding"].items():
        print(f"No Finding, {name}: {cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})")
    for name, row in result["spread"].items():
        print(f"{name:<18}", *(f"{what} {value:.3f}" for what, value in row.items()))
    result["audit"] = calibrated(arguments.work, arguments.bundle)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
