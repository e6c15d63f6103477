"""Lossless and 12-bit JPEG, which only gdcm decodes, decoded in a process of its own.

On a damaged stream gdcm may end the whole process (an exception leaves one of its C++ destructors): a batch must not end with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHILD = Path(__file__).with_name("gdcm_child.py")
TIMEOUT_S = 120


def decode_apart(frame: bytes, task: dict[str, str | int]) -> bytes:
    """Returns the decoded frame; `task` holds the fields of `PixelLayout`, the transfer syntax as text.

    Raises:
        RuntimeError: gdcm could not decode the frame, ended, or took longer than `TIMEOUT_S`.
    """
    head = json.dumps(task).encode() + b"\n"
    try:
        # -I: no script folder and no PYTHON* variables on the path of the child
        command = [sys.executable, "-I", str(CHILD)]
        done = subprocess.run(command, input=head + frame, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError("gdcm took too long") from None
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError("gdcm could not decode the frame")
    return done.stdout
