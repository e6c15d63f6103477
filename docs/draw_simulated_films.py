"""Draws docs/images/simulated-films.png: rows are site and view, columns are findings.

Run: python docs/draw_simulated_films.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vesalius.datasets.simulated_radiographs.anatomy import prepare_anatomy
from vesalius.datasets.simulated_radiographs.film import take_film
from vesalius.datasets.simulated_radiographs.findings import CARDIOMEGALY, CONSOLIDATION, EFFUSION, NODULE, PNEUMOTHORAX, Lesion
from vesalius.datasets.simulated_radiographs.patients import Frontal
from vesalius.datasets.simulated_radiographs.plan import FilmPlan, enlarged_heart

ROWS: tuple[tuple[str, Frontal], ...] = (("A", "PA"), ("A", "AP"), ("B", "PA"), ("B", "AP"))
COLUMNS = (None, EFFUSION, PNEUMOTHORAX, CONSOLIDATION, NODULE, CARDIOMEGALY)
SIZE_PX = 384
MARGIN_PX = 34
SEVERITY = 0.6


def draw_simulated_films(out: Path, seed: int = 0) -> None:
    """Writes the contact sheet as an 8-bit PNG; about a minute on one core."""
    anatomy = prepare_anatomy((1.2, 2.0, 1.2))
    sheet = Image.new("L", (MARGIN_PX + SIZE_PX * len(COLUMNS), MARGIN_PX + SIZE_PX * len(ROWS)))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    for column, finding in enumerate(COLUMNS):
        pen.text((MARGIN_PX + (column + 0.5) * SIZE_PX, 6), finding or "No finding", fill=255, font=font, anchor="ma")
    for row, (site, view) in enumerate(ROWS):
        label = Image.new("L", (SIZE_PX, MARGIN_PX))
        words = f"site {site}, {view}" + (" portable" if view == "AP" else "")
        ImageDraw.Draw(label).text((SIZE_PX / 2, 6), words, fill=255, font=font, anchor="ma")
        sheet.paste(label.rotate(90, expand=True), (0, MARGIN_PX + row * SIZE_PX))
        for column, finding in enumerate(COLUMNS):
            film = take_film(anatomy, plan_of(site, view, finding, 1 + row * len(COLUMNS) + column), SIZE_PX, seed)
            picture = Image.fromarray(np.rint(255 * np.clip(film.pixels, 0, 1)).astype(np.uint8))
            sheet.paste(picture, (MARGIN_PX + column * SIZE_PX, MARGIN_PX + row * SIZE_PX))
    out.parent.mkdir(parents=True, exist_ok=True)
    # 64 grey levels are all an eye tells apart here, and halve the file
    sheet.point(lambda level: level & 0xFC).save(out, optimize=True)


def plan_of(site: str, view: Frontal, finding: str | None, patient: int) -> FilmPlan:
    """Returns one film of a patient with that finding alone, of moderate severity."""
    side = "right" if patient % 2 else "left"
    part = "upper" if patient % 4 < 2 else "lower"
    lobe = f"lung_{part}_lobe_{side}" if finding in (CONSOLIDATION, NODULE) else None
    lesions = (
        () if finding is None else (Lesion(finding, SEVERITY, None if finding == CARDIOMEGALY else side, lobe, place=patient),)
    )
    heart = enlarged_heart(SEVERITY) if finding == CARDIOMEGALY else 1.0
    return FilmPlan(site, patient, 1, 1, 0, view, heart, lesions, {})


if __name__ == "__main__":
    draw_simulated_films(Path(__file__).parent / "images" / "simulated-films.png")
