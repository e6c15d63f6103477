"""Draws the pictures of README and docs again, from a finished demo and from simulated outputs.

    python docs/draw.py [--demo demo]

The page is photographed by a headless Chromium; without one that picture is left as it is, with a word.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def draw_report(page: Path, out: Path, *, width: int, height: int) -> None:
    """Photographs the top of a page."""
    browser = next((path for path in map(shutil.which, CHROMIUM) if path), None)
    if browser is None:
        print(f"{out.name}: no Chromium here, so the picture stays as it is")
        return
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
        size = [f"--user-data-dir={profile}", "--virtual-time-budget=8000", f"--window-size={width},{height}"]
        subprocess.run([browser, *flags, *size, f"--screenshot={out}", page.resolve().as_uri()], check=True, capture_output=True)
    print(out)


def draw_heat_map(folder: Path, out: Path) -> None:
    """Takes the first heat map of a finding that was answered `present` by the demo."""
    import json

    for line in (folder / "predictions.jsonl").read_text().splitlines():
        answer = json.loads(line)
        for finding in answer["findings"]:
            if finding["decision"] == "present":
                name = f"{Path(answer['case']).name}.{finding['name'].replace(' ', '_')}.png"
                found = sorted((folder / "heatmaps").rglob(name))
                if found:
                    shutil.copyfile(found[0], out)
                    print(out)
                    return
    print(f"{out.name}: the demo answered `present` nowhere, so the picture stays as it is")


def draw_outputs(out: Path) -> None:
    """Photographs the page that `vesalius uq` makes of simulated outputs."""
    with tempfile.TemporaryDirectory() as folder:
        outputs, page = Path(folder) / "outputs.npz", Path(folder) / "report"
        simulate = HERE.parent / "examples" / "simulate_outputs.py"
        subprocess.run([sys.executable, str(simulate), "--out", str(outputs)], check=True, capture_output=True)
        command = [sys.executable, "-m", "vesalius", "uq", str(outputs), "--out", str(page)]
        subprocess.run(command, check=True, capture_output=True)
        draw_report(page / "index.html", out, width=1280, height=1500)


def main() -> None:
    """Draws all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="what `vesalius demo` wrote")
    folder = parser.parse_args().demo
    images = HERE / "images"
    draw_outputs(images / "uq.png")
    if not (folder / "report" / "index.html").exists():
        raise SystemExit(f"no finished demo at {folder}; run `make demo` first")
    draw_report(folder / "report" / "index.html", images / "report.png", width=1280, height=1500)
    draw_heat_map(folder, images / "heatmap.png")
    subprocess.run([sys.executable, str(HERE / "draw_simulated_films.py")], check=True)


if __name__ == "__main__":
    main()
