"""What one can type behind `syncd`, as frozen values: every command with its options and arguments."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from syncd.cli.app import app
from syncd.cli.plain import synopsis


@dataclass(frozen=True, slots=True)
class Option:
    """Describe an option; value: what stands for its value, nothing for a switch."""

    names: tuple[str, ...]
    value: str
    help: str
    default: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the values that it can have, where they are few."""
        return tuple(self.value.split("|")) if "|" in self.value else ()


@dataclass(frozen=True, slots=True)
class Argument:
    """Describe an argument; shown: as it is in a synopsis, `[ACCOUNT]...`."""

    shown: str
    help: str

    @property
    def word(self) -> str:
        """Return what stands for its value."""
        return re.sub(r"[^A-Z]", "", self.shown)

    @property
    def is_repeated(self) -> bool:
        return self.shown.endswith("...")


@dataclass(frozen=True, slots=True)
class Command:
    """Describe a command by the words that name it; without words it is syncd itself."""

    words: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    commands: tuple["Command", ...]
    needs_command: bool
    """Nothing happens without one of `commands`."""

    @property
    def summary(self) -> str:
        """Return the first sentence of the help."""
        return self.help.partition("\n")[0].removesuffix(".")

    @property
    def name(self) -> str:
        return self.words[-1] if self.words else "syncd"


HELP = Option(("--help",), "", "Show how it is used, and exit.")


def program() -> Command:
    """Return the whole command line."""
    return _command(typer.main.get_command(app), ())


def all_of(command: Command) -> Iterator[Command]:
    """Yield a command and those below it."""
    yield command
    for one in command.commands:
        yield from all_of(one)


def _command(found: Any, words: tuple[str, ...]) -> Command:
    shown = [one for one in found.params if not one.hidden]
    below = getattr(found, "commands", {})
    return Command(
        words,
        inspect.cleandoc(found.help or ""),
        (*(_option(one) for one in shown if one.param_type_name == "option"), HELP),
        tuple(Argument(synopsis(one), one.help or "") for one in shown if one.param_type_name == "argument"),
        tuple(_command(one, (*words, name)) for name, one in below.items() if not one.hidden),
        bool(below) and not found.invoke_without_command,
    )


def _option(found: Any) -> Option:
    value = "" if found.is_flag else found.metavar or found.name.upper()
    default = str(found.default) if value and found.default is not None else ""
    return Option(tuple(found.opts), value, found.help or "", default)
