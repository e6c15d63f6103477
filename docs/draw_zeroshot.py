"""Draws films that were read by words, with the heat map of one phrase each, side by side, and one of them large.

python benchmarks/simulated_words.py --work words --recipe clip --patients 4000 200      # trains the towers, half an hour
python docs/draw_zeroshot.py --work words
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import PIL.Image

import vesalius as vs
from vesalius.datasets.store import Store
from vesalius.reporting.heatmap import captioned

HERE = Path(__file__).parent / "images"
ASKED = ("Pleural Effusion", "Pneumothorax", "Consolidation", "Nodule", "Cardiomegaly")
PANEL = (430, 414)


def films_with(work: Path, finding: str | None) -> list[Path]:
    """Returns frontal films of the site that taught nothing which have this finding and no other."""
    manifest = Store(work / "store").manifest
    rows = manifest[(manifest.site == "B") & (manifest.view_position != "LATERAL")]
    labels = rows[[f"label:{name}" for name in ASKED]]
    wanted = [1.0 if name == finding else 0.0 for name in ASKED]
    return [work / "cohort" / Path(path).name for path in rows[(labels == wanted).all(axis=1)].path]


def typical(bundle: Any, films: list[Path], phrase: str) -> tuple[Any, Any]:
    """Returns the film whose contrast is the middle one of its kind, and what the words say of it: no chosen success."""
    images = [vs.read(path) for path in films]
    scores = [vs.zeroshot(bundle, image, [phrase]).findings[0].logit for image in images]
    middle = sorted(range(len(films)), key=scores.__getitem__)[len(films) // 2]
    return images[middle], vs.zeroshot(bundle, images[middle], [phrase], evidence=True)


def draw(work: Path) -> None:
    """Writes one panel a finding, three in a row, the last of a film without any; and the first panel by itself."""
    bundle = vs.load(work / "words-clip")
    sheet = PIL.Image.new("RGB", (3 * PANEL[0], 2 * PANEL[1]), (20, 22, 26))
    for place, finding in enumerate((*ASKED, None)):
        phrase = (finding or ASKED[0]).lower()
        image, answer = typical(bundle, films_with(work, finding)[:40], phrase)
        picture = captioned(image, answer.findings[0], answer.evidence[0], answer.bundle, answer.evidence_of)
        if place == 0:
            picture.save(HERE / "words-heatmap.png", optimize=True)
        picture.thumbnail(PANEL, PIL.Image.Resampling.LANCZOS)
        sheet.paste(picture, (place % 3 * PANEL[0], place // 3 * PANEL[1]))
    sheet.save(HERE / "zeroshot.png", optimize=True)


def main() -> None:
    """Draws the pictures of docs/zeroshot.md and docs/reading-by-words.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    draw(parser.parse_args().work)


if __name__ == "__main__":
    main()
