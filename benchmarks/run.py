"""Every ratio of benchmarks/RESULTS.md, measured anew: `make bench`.

Each is a ratio of two things timed side by side in one run. Nothing here judges; what was reached goes to the page, with the
machine's name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = (
    "startup.py",
    "ingest.py",
    "network.py",
    "vision_tower.py",
    "training_step.py",
    "gradient_cache.py",
    "predict.py",
    "bootstrap.py",
    "delong.py",
    "mahalanobis.py",
    "ece.py",
    "aurc.py",
    "policy_search.py",
    "zeroshot.py",
    "slide_features.py",
    "prompt_sets.py",
)


def main() -> int:
    """Runs the scripts one after another, so that none disturbs another, and prints their JSON lines."""
    failed = []
    for name in sys.argv[1:] or SCRIPTS:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, str(HERE / name)], check=False).returncode:
            failed.append(name)
    print(json.dumps({"ran": len(SCRIPTS), "failed": failed}))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
