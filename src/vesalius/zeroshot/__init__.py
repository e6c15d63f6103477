"""Words in, scores out: prompts, their embeddings, and how patches of a slide become one answer.

The room is also the verb: `vesalius.zeroshot(bundle, image, texts)`. Importing any module of this package binds `vesalius.zeroshot`
to the package itself, so the package has to answer the call.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """This package, and what `vesalius.bundle.film_words.zeroshot` does when it is called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Reads one film by words: see `vesalius.bundle.film_words.zeroshot`."""
        from vesalius.bundle.film_words import zeroshot

        return zeroshot(*arguments, **options)


sys.modules[__name__].__class__ = _Room
