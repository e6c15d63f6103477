"""Draws what each family's contract shows its network of one and the same film.

python docs/draw_contracts.py [--film demo/cohort/A-0001-1.dcm]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import vesalius as vs
from vesalius.models.contracts import FAMILY_CONTRACTS
from vesalius.types import Image

HERE = Path(__file__).parent
FAMILIES = ("chexzero", "medclip", "openai-clip", "biovil", "cxr-mae")


def draw(film: Image, out: Path) -> None:
    """Writes one panel a family: the first channel, from its least to its greatest value."""
    figure, panels = plt.subplots(1, 1 + len(FAMILIES), figsize=(15, 3.1))
    panels[0].imshow(film.pixels, cmap="gray", vmin=0, vmax=1)
    panels[0].set_title(f"the film\n{film.pixels.shape[0]} x {film.pixels.shape[1]}, 0 to 1", fontsize=9)
    for panel, family in zip(panels[1:], FAMILIES, strict=True):
        contract = FAMILY_CONTRACTS[family]
        tensor = contract.apply([film])[0]
        panel.imshow(tensor[0], cmap="gray")
        low, high = float(tensor.min()), float(tensor.max())
        panel.set_title(f"{family}\n{contract.size_px} x {contract.size_px}, {low:.2f} to {high:.2f}", fontsize=9)
    for panel in panels:
        panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    print(out)


def crop(film: Image, share: float = 0.72) -> Image:
    """Returns the film with less above and below: wider than high, as a film of a broad chest in landscape is."""
    height = film.pixels.shape[0]
    cut = round(height * (1 - share) / 2)
    return Image(np.ascontiguousarray(film.pixels[cut : height - cut]), film.image_id, film.bits_stored)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--film", type=Path, default=Path("demo/cohort/A-0001-1.dcm"))
    draw(crop(vs.read(parser.parse_args().film)), HERE / "images" / "contracts.png")
