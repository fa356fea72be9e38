"""Floor 1: what a value is here: fields with names, equal when these are, and never changed.

Theory. A frozen dataclass would do. But it writes six methods as text and compiles them whenever a process starts: half
a millisecond for a class, of which there are hundreds, and so a fifth of a short `syncd sync`. A Struct of msgspec has
the same methods in C: its class is made in a fortieth of that time, and a value in an eighth.

House rules. What changes is a Record, made as fast. What is taken apart or sorted is a named tuple, whose class takes
half as long to make as a dataclass. What hides one field of several, and what pydantic reads or writes, is a dataclass:
configurations and answers.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, dataclass_transform

from msgspec import Struct, field
from msgspec.structs import asdict, force_setattr
from msgspec.structs import replace as _replace

if TYPE_CHECKING:
    from dataclasses import replace  # type checkers know it: it takes only fields, of their types
else:

    def replace(value: Any, /, **changes: Any) -> Any:
        """Return a value, or what a dataclass makes, with other fields."""
        return (_replace if isinstance(value, Struct) else dataclasses.replace)(value, **changes)


__all__ = ["Opaque", "Record", "Value", "asdict", "field", "force_setattr", "replace"]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value(Struct, frozen=True):
    """Be the base of a value: its class only names the fields."""


@dataclass_transform(field_specifiers=(field,))
class Record(Struct):
    """Be the base of what has fields that change; equal when these are."""


class Opaque(Value):
    """Be the base of a value of which no field is shown: it is a secret, or somebody's mail."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"
