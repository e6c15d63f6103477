"""Networks and their preprocessing contracts; one file a family."""
