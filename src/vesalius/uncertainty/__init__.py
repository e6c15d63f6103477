"""How sure a model may be: calibration, abstention and out-of-distribution scores, for any model's arrays; numpy only."""
