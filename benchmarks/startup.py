"""How long a user waits for `vesalius --help`, and for the help of a verb, over the bare interpreter's start.

python benchmarks/startup.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

ROUNDS = 7


def seconds(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    commands = {
        "vesalius --help": ("-m", "vesalius", "--help"),
        "vesalius train classifier --help": ("-m", "vesalius", "train", "classifier", "--help"),
    }
    bare = statistics.median(seconds("-c", "pass") for _ in range(ROUNDS))
    for name, words in commands.items():
        took = statistics.median(seconds(*words) for _ in range(ROUNDS))
        print(json.dumps({"what": name, "seconds": round(took, 3), "bare_python_seconds": round(bare, 3), "target": "< 0.5 s"}))


if __name__ == "__main__":
    main()
