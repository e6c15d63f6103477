"""Draws films that were read by words, with the heat map of one phrase each, side by side.

python benchmarks/simulated_words.py --work words --recipe medclip      # trains the towers, about 12 minutes
python docs/draw_zeroshot.py --work words
"""

from __future__ import annotations

import argparse
from pathlib import Path

import PIL.Image

import vesalius as vs
from vesalius.reporting.heatmap import captioned

HERE = Path(__file__).parent
ASKED = (
    ("B-0019-1.dcm", "pleural effusion"),
    ("B-0039-1.dcm", "pneumothorax"),
    ("B-0002-1.dcm", "consolidation"),
    ("B-0001-2.dcm", "cardiomegaly"),
    ("B-0044-1.dcm", "nodule"),
    ("B-0005-2.dcm", "pleural effusion"),
)
"""Films of the site that taught nothing, each with the one finding it has; the last has none."""
PANEL = (430, 414)


def draw(work: Path, out: Path) -> None:
    """Writes one panel a film and phrase, three in a row."""
    bundle = vs.load(work / "words-medclip")
    sheet = PIL.Image.new("RGB", (3 * PANEL[0], 2 * PANEL[1]), (20, 22, 26))
    for place, (film, phrase) in enumerate(ASKED):
        image = vs.read(work / "cohort" / film)
        answer = vs.zeroshot(bundle, image, [phrase], evidence=True)
        picture = captioned(image, answer.findings[0], answer.evidence[0], answer.bundle)
        picture.thumbnail(PANEL, PIL.Image.Resampling.LANCZOS)
        sheet.paste(picture, (place % 3 * PANEL[0], place // 3 * PANEL[1]))
    sheet.save(out, optimize=True)
    print(out)


def main() -> None:
    """Draws the picture of docs/zeroshot.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    draw(parser.parse_args().work, HERE / "images" / "zeroshot.png")


if __name__ == "__main__":
    main()
