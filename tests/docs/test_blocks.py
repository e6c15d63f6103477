"""Every block of README and docs that a reader may copy runs, beside a small demo, page by page and in order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, blocks


def by_page(language: str) -> list[list[Block]]:
    pages: dict[str, list[Block]] = {}
    for block in blocks(language):
        pages.setdefault(block.page, []).append(block)
    return list(pages.values())


def page_name(page: list[Block]) -> str:
    return page[0].page


@pytest.fixture
def beside_a_demo(small_demo: Path, tmp_path: Path) -> Path:
    """A folder as a reader has it after `vesalius demo --out demo` in a checkout; a copy, because verbs write into it."""
    subprocess.run(["cp", "-r", str(small_demo), str(tmp_path / "demo")], check=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def run(command: list[str], folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", by_page("python"), ids=page_name)
def test_python(page: list[Block], beside_a_demo: Path) -> None:
    script = beside_a_demo / "page.py"
    script.write_text("\n".join(f"# {block}\n{block.code}" for block in page))
    run([sys.executable, script.name], beside_a_demo)


@pytest.mark.parametrize("page", by_page("bash"), ids=page_name)
def test_bash(page: list[Block], beside_a_demo: Path) -> None:
    script = beside_a_demo / "page.sh"
    script.write_text("set -euo pipefail\n" + "\n".join(f": {block}\n{block.code}" for block in page))
    run(["bash", script.name], beside_a_demo)


def test_every_link_of_a_page_leads_somewhere() -> None:
    import re

    from tests.docs.blocks import pages

    broken = []
    for page in pages():
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken, "\n".join(broken)
