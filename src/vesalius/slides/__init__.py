"""Whole slides: opened, searched for tissue, cut into patches; in micrometres per pixel, never by a guessed magnification."""
