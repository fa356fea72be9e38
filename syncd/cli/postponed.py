"""A library that others load in case somebody wants it, and nobody does: it is loaded when it is used."""

import importlib
import sys
from types import ModuleType
from typing import Any

_METADATA = "importlib.metadata"


class _Postponed(ModuleType):
    """Stand in for a module until anything but its functions as such is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.loaded(), name)

    def loaded(self) -> ModuleType:
        """Return the module itself, which has its place from now on."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)


def postpone_metadata() -> None:
    """Let pydantic have what looks for plugins without loading it: with zip files and mail that is 40 modules."""
    if _METADATA not in sys.modules:
        stand_in = sys.modules[_METADATA] = _Postponed(_METADATA)
        stand_in.__dict__["entry_points"] = lambda **of: stand_in.loaded().entry_points(**of)
        # NOTE: an import of a module that is there does not put it into its package, where `import a.b` looks for it.
        vars(importlib)["metadata"] = stand_in
