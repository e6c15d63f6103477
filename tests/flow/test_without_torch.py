"""A plain install can use numbers: both rooms and `vesalius uq`, without torch and whatever else films need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.outputs import simulated, write_arrays
from vesalius.errors import EXTRAS

ROOT = Path(__file__).parents[2]

WORK = """
import json, sys
import numpy as np
import vesalius as vs
from vesalius.cli import main

for room in (vs.metrics, vs.uncertainty):
    for name in room.__all__:
        getattr(room, name)
random = np.random.default_rng(0)
z = random.normal(0, 2, (120, 2))
y = (random.random((120, 2)) < 1 / (1 + np.exp(-z / 2))).astype(float)
patients = random.integers(0, 40, 120)
p = vs.uncertainty.Temperature(per_label=True).fit(z, y, patients).calibrate(z)
policy = vs.uncertainty.DecisionPolicy().fit(p, y, patients)
found = vs.uncertainty.evaluate(p, y, patients, z, policy=policy, options=vs.uncertainty.EvaluationOptions(resamples=20))
assert 0.5 < found.macro["auroc"].value < 1
assert main(["uq", sys.argv[1], "--out", sys.argv[2], "--resamples", "20", "--by", "sex"]) == 0
assert main(["uq", sys.argv[1], "--rule", f"{sys.argv[2]}/decision_rule.json", "--answers", f"{sys.argv[2]}/answers.csv"]) == 0
assert main(["doctor"]) == 0
try:
    vs.load
except vs.VesaliusError as error:
    print(error, file=sys.stderr)
assert main(["predict", "bundle", "films", "--out", "answers.jsonl"]) == 2
assert main(["audit", "bundle", "--store", "store"]) == 2
print(json.dumps(sorted(set(sys.modules))))
"""


def check(done: subprocess.CompletedProcess[str], out: Path) -> None:
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {module for modules in EXTRAS.values() for module in modules}
    assert {path.name for path in out.iterdir()} == {
        "index.html",
        "uq.json",
        "decision_rule.json",
        "decision_rule.npz",
        "answers.csv",
    }
    assert "pip install 'vesalius[films]'" in done.stderr
    assert "pip install 'vesalius[films]'" in done.stdout.replace("\n", ""), "the doctor says how to get the rest"


def test_with_the_extras_out_of_sight(tmp_path: Path) -> None:
    outputs = write_arrays(tmp_path / "outputs.npz", simulated(60))
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.absent import forget_extras; forget_extras()\n{WORK}"
    command = [sys.executable, "-c", code, str(outputs), str(tmp_path / "report")]
    check(subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path), tmp_path / "report")


@pytest.mark.slow
def test_in_an_environment_of_its_own(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: str, timeout: int = 500) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=tmp_path, env=environment)

    assert run(sys.executable, "-m", "venv", "light").returncode == 0
    python = str(tmp_path / "light" / "bin" / "python")
    probe = run(python, "-m", "pip", "download", "--no-deps", "--retries", "0", "--timeout", "10", "-d", "probe", "hatchling")
    if probe.returncode != 0:
        pytest.skip("no package index can be reached from here, so nothing can be installed")
    installed = run(python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(ROOT))
    assert installed.returncode == 0, installed.stderr
    assert "torch" not in run(python, "-m", "pip", "list").stdout
    outputs = write_arrays(tmp_path / "outputs.npz", simulated(60))
    check(run(python, "-c", WORK, str(outputs), str(tmp_path / "report")), tmp_path / "report")
