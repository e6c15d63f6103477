"""What a network is trained to make small; every loss respects unknown labels."""
