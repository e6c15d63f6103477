"""How well a model does, in numbers that respect unknown labels and patients; numpy only."""
