"""Every Python block of README and docs runs, each page in its own folder beside a small demo."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks

PAGES = {page: list(group) for page, group in itertools.groupby(blocks("python"), key=lambda block: block.page)}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_in_order(page: str, small_demo: Path, tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(small_demo)
    script = tmp_path / "page.py"
    script.write_text("\n".join(f"# {block}\n{block.code}" for block in PAGES[page]))
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
