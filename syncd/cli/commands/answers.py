"""Floor 6: what an answer to `syncd init` may be; BadParameter says what it should be."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

NOT_UTF8 = "should be UTF-8"


@dataclass(frozen=True, slots=True)
class Server:
    """Hold where a server is; of a provider that is known also who it is, and what it takes to log in."""

    host: str
    port: int | None = None
    provider: str | None = None
    username: str | None = None
    login: str = ""
    has_tokens_only: bool = False


def server_of(text: str, *, kind: str) -> Server:
    """Return a host and the port that may stand behind it; an address of IPv6 has more than one colon, or brackets.

    Of an address of mail it is the provider's, as far as that is known, as of the name that a provider is known by.
    """
    import re

    from syncd.config import values
    from syncd.config.providers import PROVIDERS

    check = like(values.Host)
    if "@" in text:
        return _server_for(text, kind)
    if text.lower() in PROVIDERS:
        return _server_of_provider(text.lower(), kind, None)
    if found := re.fullmatch(r"\[(.*:.*)\](?::(\d+))?|([^:]+):(\d+)", text):
        address, of_address, host, port = found.groups()
        number = of_address or port
        return Server(check(address or host), None if number is None else port_of(number))
    return Server(check(text))


def _server_for(address: str, kind: str) -> Server:
    from syncd.config.providers import PROVIDERS, provider_of

    local_part = address.rpartition("@")[0]
    if not local_part:
        raise typer.BadParameter("should have a name before the @")
    if (name := provider_of(address)) is None:
        raise typer.BadParameter("no provider is known by this address: name its server")
    return _server_of_provider(name, kind, local_part if PROVIDERS[name].is_user_local_part else address)


def _server_of_provider(name: str, kind: str, username: str | None) -> Server:
    from syncd.config.providers import PROVIDERS, with_type

    try:
        provider = PROVIDERS[with_type(name, kind)]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return Server(
        provider.host(kind) or "", None, name, username, provider.login, has_tokens_only=provider.has_tokens_only
    )


def like(kind: Any) -> Callable[[str], str]:
    """Return a check by a type of the configuration, which says what it should be."""
    from pydantic import TypeAdapter, ValidationError

    def check(text: str) -> str:
        try:
            value: str = TypeAdapter(kind).validate_python(text)
        except ValidationError as error:
            raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return value

    return check


def one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    """Return a check that an answer is one of a few."""

    def check(text: str) -> str:
        if text not in words:
            raise typer.BadParameter(f"should be {', '.join(words[:-1])} or {words[-1]}")
        return text

    return check


def port_of(text: str) -> int:
    """Return a port."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise typer.BadParameter("should be a number between 1 and 65535")
    return int(text)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a command as a shell would divide them, none of an empty answer."""
    import shlex

    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise typer.BadParameter("a quote is not closed") from None


def command_of(text: str) -> tuple[str, ...]:
    """Return the words of a command."""
    words = words_of(text)
    if not words:
        raise typer.BadParameter("should be a command")
    return words


def _as_path(text: str) -> str:
    """Return a path that means the same in the file as here."""
    if not text or "\0" in text:
        raise typer.BadParameter("should be a path")
    return text if text.startswith("~") else in_utf8(str(Path.cwd() / text))


def as_file(text: str) -> str:
    """Return the path of a file, which need not be there."""
    path = _as_path(text)
    if os.path.isdir(os.path.expanduser(path)):  # noqa: PTH111, PTH112 - those raise for a home that nobody has
        raise typer.BadParameter("should be a file, and is a directory")
    return path


def as_directory(text: str) -> str:
    """Return the path of a directory that may be filled with mail."""
    path = _as_path(text)
    if os.path.realpath(os.path.expanduser(path)) in {os.path.realpath(os.path.expanduser("~")), "/"}:  # noqa: PTH111
        raise typer.BadParameter("should be a directory of its own, with nothing but mail")
    return path


def in_utf8(text: str) -> str:
    """Return a text; BadParameter if octets stand in it that are no UTF-8, as the file has to be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(NOT_UTF8) from None
    return text
