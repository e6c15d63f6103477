"""From a file to an Image; no torch."""
