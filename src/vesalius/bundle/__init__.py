"""The locked folder that answers: format, save, load, verify, predict."""
