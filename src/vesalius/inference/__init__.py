"""How one case becomes logits."""
