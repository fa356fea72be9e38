"""Floor 6: how `--help` shows a command, and what a number has to be: in words, without types of Python."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand


class Plain(TyperCommand):
    """Show arguments by their names alone."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what stands behind the name of the command: `[OPTIONS] [ACCOUNT]...`."""
        return ["[OPTIONS]", *(synopsis(one) for one in self.params if one.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each with its help."""
        params = self.get_params(ctx)
        arguments = [(name_of(one), getattr(one, "help", "")) for one in params if one.param_type_name == "argument"]
        options = [one.get_help_record(ctx) for one in params if one.param_type_name == "option"]
        for title, rows in (("Arguments", arguments), ("Options", [row for row in options if row is not None])):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def name_of(argument: Any) -> str:
    """Return what stands for an argument."""
    return str(argument.metavar or argument.name.upper())


def synopsis(argument: Any) -> str:
    """Return an argument as a synopsis has it: in brackets if it may be left out, with dots if it may come again."""
    name = name_of(argument)
    return (name if argument.required else f"[{name}]") + ("" if argument.nargs == 1 else "...")


def number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads a number of the command line, which has to be in these bounds."""
    bounds = f"between {least:,} and {most:,}" if most is not None else f"from {least:,} on"

    def read(given: str) -> int:
        text = str(given)  # NOTE: typer hands a default through here as well, as the number that it is
        found = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
        if found is None or found < least or (most is not None and found > most):
            raise typer.BadParameter(f"should be a number {bounds}")
        return found

    return read
