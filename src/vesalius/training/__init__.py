"""The one loop, its optimization, and one file a recipe."""
