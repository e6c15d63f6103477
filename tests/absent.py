"""An interpreter that has never heard of the parts that extras bring, while they are installed beside it."""

from __future__ import annotations

import sys
from typing import Any


class _Without:
    """A finder that finds everything but these modules."""

    def __init__(self, finder: Any, modules: frozenset[str]) -> None:
        self.finder, self.modules = finder, modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in self.modules else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def forget_extras() -> None:
    """Makes every module of every extra absent; call it in an interpreter of its own, before anything else is imported."""
    from vesalius.errors import EXTRAS

    modules = frozenset(module for names in EXTRAS.values() for module in names)
    loaded = sorted(modules & set(sys.modules))
    assert not loaded, f"too late to forget {loaded}"
    sys.meta_path[:] = [_Without(finder, modules) for finder in sys.meta_path]
