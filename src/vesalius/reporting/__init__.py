"""From a Prediction to what people and systems read; no torch."""
