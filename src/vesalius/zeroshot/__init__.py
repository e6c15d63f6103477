"""Words in, scores out: prompts, their embeddings, and how patches of a slide become one answer."""
