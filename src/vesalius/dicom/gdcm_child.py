"""Decodes one compressed frame with gdcm: a program of its own, run by `gdcm_apart` and imported by nobody.

Standard input: one line of JSON, then the frame. Standard output: the decoded bytes. It imports gdcm alone.
"""

import json
import sys
from typing import Any

import gdcm


def decode(frame: bytes, task: dict[str, Any]) -> bytes:
    """Returns the decoded frame; the arrangement of calls is that of pydicom's own gdcm plugin."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((task["columns"], task["rows"], 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType(task["photometric"]))
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(task["transfer_syntax"])))
    stored, signed = task["bits_stored"], task["signed"]
    image.SetPixelFormat(gdcm.PixelFormat(task["samples"], task["bits_allocated"], stored, stored - 1, signed))
    decoded: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")  # gdcm hands its bytes over as text
    return decoded


if __name__ == "__main__":
    line = sys.stdin.buffer.readline()
    sys.stdout.buffer.write(decode(sys.stdin.buffer.read(), json.loads(line)))
