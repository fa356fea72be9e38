"""Floor 6: `syncd init`: a first configuration, from options and answers, checked as `syncd check-config` checks it."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from syncd.cli.commands.answers import (
    NOT_UTF8,
    Server,
    as_directory,
    as_file,
    command_of,
    in_utf8,
    like,
    one_of,
    port_of,
    server_of,
    words_of,
)
from syncd.cli.terminal import complain, say
from syncd.errors import SyncdError

if TYPE_CHECKING:
    from syncd.config.first import Answers

_TYPES = ("imap", "pop3")
_TLS = ("implicit", "starttls", "none")
_DELETES = "deletes it on the server once it is safe here"

T = TypeVar("T")

AccountOption = Annotated[str | None, typer.Option("--account", metavar="NAME", help="What the account is called.")]
TypeOption = Annotated[str | None, typer.Option("--type", metavar="imap|pop3", help="What the server speaks.")]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host", metavar="HOST[:PORT]", help="The server, or a provider that is known, or your address there."
    ),
]
PortOption = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="Its port, where it has another than is usual.")
]
TlsOption = Annotated[
    str | None,
    typer.Option("--tls", metavar="implicit|starttls|none", help="How it is encrypted; none only to this machine."),
]
UserOption = Annotated[str | None, typer.Option("--username", metavar="USER", help="The name to log in with.")]
FileOption = Annotated[
    str | None, typer.Option("--password-file", metavar="FILE", help="A file whose first line is the password.")
]
CommandOption = Annotated[
    str | None,
    typer.Option("--password-command", metavar="COMMAND", help="A command that prints it, such as 'pass show work'."),
]
TokenOption = Annotated[
    str | None,
    typer.Option("--token-command", metavar="COMMAND", help="A command that prints a token of OAuth instead."),
]
ClientOption = Annotated[
    str | None,
    typer.Option("--client-id", metavar="ID", help="The application by which syncd itself asks for such tokens."),
]
DeviceOption = Annotated[str | None, typer.Option("--device", metavar="NAME", help="What this device is called.")]
PathOption = Annotated[
    str | None, typer.Option("--path", metavar="DIRECTORY", help="Where the mail of this device goes.")
]
PlaceOption = Annotated[
    Path | None, typer.Option("--config", metavar="PATH", help="Where it goes; else where it is looked for.")
]


def init(
    *,
    account: AccountOption = None,
    kind: TypeOption = None,
    host: HostOption = None,
    port: PortOption = None,
    tls: TlsOption = None,
    username: UserOption = None,
    password_file: FileOption = None,
    password_command: CommandOption = None,
    token_command: TokenOption = None,
    client_id: ClientOption = None,
    device: DeviceOption = None,
    path: PathOption = None,
    config: PlaceOption = None,
) -> None:
    """Check a first configuration, and write it; in a terminal it asks for what no option says.

    A password is in a file of its own, or a command prints it. A configuration that is there already is left alone.
    Without a terminal only server, user name and password have to be said; the rest is what would be offered. The port
    is the usual one unless it is said with the server, as in imap.example.org:1993, and encryption what --tls says. Of
    many providers the name is enough, or an address, which tells the user name as well. Some take a token in place of a
    password.
    """
    given = {
        "--password-file": password_file,
        "--password-command": password_command,
        "--token-command": token_command,
        "--client-id": client_id,
    }
    *some, last = given
    if sum(one is not None for one in given.values()) > 1:
        raise typer.BadParameter(f"{', '.join(some)} and {last} exclude each other")
    asking = sys.stdin.isatty()
    if not (asking or (host and (username or "@" in host) and any(given.values()))):
        needed = f"--host, --username, and {', '.join(some)} or {last}"
        raise typer.BadParameter(f"there is no terminal to ask in, so these are needed: {needed}")

    from syncd.cli.commands.placing import first_place, put, schema
    from syncd.config import values
    from syncd.config.first import Answers, first_config
    from syncd.config.places import SYSTEM_FILE

    place = first_place(config, environ=os.environ, is_root=os.geteuid() == 0).absolute()
    is_system = place == SYSTEM_FILE
    if asking:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")  # what is no text is asked again, and no end of it all
        say(f"This makes {place}. Enter takes what is in brackets; Ctrl-C ends it, and nothing is written.")
    ask = _Questions(asking)
    kind = ask("--type", kind, "Type of the server, imap or pop3", one_of(_TYPES), default="imap")
    if asking and kind == "pop3":
        say(f"For POP3, syncd brings all mail and {_DELETES}, in its store.")
    server = ask("--host", host, f"Server, such as {kind}.example.org, or your address", partial(server_of, kind=kind))
    if server.has_tokens_only and (password_file or password_command):
        raise typer.BadParameter(f"{server.login}: say --client-id or --token-command", param_hint="--host")
    if server.login:
        say(f"{server.login}.")
    number = server.port if port is None else ask("--port", port, "", port_of)
    if server.port not in (None, number):
        raise typer.BadParameter(f"says {number}, and the server {server.port}", param_hint="--port")
    tls = None if tls is None else ask("--tls", tls, "", one_of(_TLS))
    username = ask("--username", username, "User name there", like(values.User), default=server.username)
    name, login = _account(ask, place.parent, server, username, name=account, given=given)
    device = ask("--device", device, "Name of this device", like(values.Name), default=_name_of_machine())

    def complete(path: str) -> _Plan:
        """Return all that comes of it; BadParameter, ConfigError or SyncdError if that cannot be."""
        path = as_directory(path)
        answers = Answers(
            kind,
            server.host,
            username,
            name,
            device,
            path,
            login.file,
            login.command,
            number,
            tls,
            server.provider,
            login.token_command,
            login.client_id,
        )
        text = first_config(answers, schema=schema(), is_system=is_system)
        _check(text, place, of_path=f"devices.{device}.path" if asking else "")
        steps = _first_steps(answers, place, has_secret=bool(login.secret), is_named=config is not None)
        return _Plan(answers, text, tuple(steps))

    mail = f"{'/srv/mail' if is_system else '~/mail'}/{device}"
    plan = ask("--path", path, "Directory for its mail", complete, default=mail)
    mode = (
        0o755 if is_system else 0o700
    )  # files are for their owner only; the service has to get to that of the machine
    if login.file is not None and login.secret:
        put(Path(login.file), f"{login.secret}\n", directory_mode=mode)
        say(f"{login.file}: written")
    put(place, plan.text, directory_mode=mode)
    say(f"{place}: written")
    for line in (*plan.steps, *_next_steps(plan.answers, place, is_named=config is not None, is_system=is_system)):
        say(line)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Hold what would be written, and what has to be done before a sync."""

    answers: "Answers"
    text: str
    steps: tuple[str, ...]


def _check(text: str, place: Path, *, of_path: str) -> None:
    """Raise ConfigError if the file could not be used; the problems name no lines, for it is not there yet.

    of_path: a key of which the problem is only that of the last answer, and so BadParameter; empty for none.
    """
    from syncd.config.load import read_text
    from syncd.config.problems import ConfigError
    from syncd.values import replace

    try:
        reading = read_text(text, place, needs_logins=True)
    except ConfigError as error:
        if {one.key for one in error.problems} == {of_path}:
            raise typer.BadParameter(error.problems[0].text) from None
        problems = (
            replace(one, where="") if one.where.rpartition(":")[0] == str(place) else one for one in error.problems
        )
        raise ConfigError(tuple(problems)) from None
    for warning in reading.warnings:
        complain(f"warning: {warning}")


@dataclass(frozen=True, slots=True)
class _Questions:
    """Ask for what no option says, again and again until it can be used; where nobody answers, take the default."""

    asking: bool

    def __call__(
        self, option: str, given: str | None, question: str, check: Callable[[str], T], default: str | None = None
    ) -> T:
        def usable(text: str) -> T:
            return check(in_utf8(text))

        def usable_answer(text: str) -> T:
            try:
                return usable(text)
            except SyncdError as error:
                raise typer.BadParameter(str(error)) from error

        if given is None and self.asking:
            answer: T = typer.prompt(question, default=default, value_proc=usable_answer, show_default=bool(default))
            return answer
        try:
            return usable(given if given is not None else default or "")
        except typer.BadParameter as error:
            raise typer.BadParameter(error.message, param_hint=option) from error


@dataclass(frozen=True, slots=True)
class _Login:
    """Hold where the password, or a token, is from; secret: what has yet to be put into the file."""

    file: str | None = None
    command: tuple[str, ...] = ()
    token_command: tuple[str, ...] = ()
    client_id: str | None = None
    secret: str = field(default="", repr=False)


def _account(
    ask: _Questions,
    directory: Path,
    server: Server,
    username: str,
    *,
    name: str | None,
    given: Mapping[str, str | None],
) -> tuple[str, _Login]:
    """Return what the account is called, and where its password is: as a rule in a file that is called like it.

    given: the options that may say it, and what one of them says.
    """
    from syncd.config import values

    called = name
    while True:
        name = ask("--account", called, "Name of the account, as you like", like(values.Name), default="mail")
        usual = directory / f"{name}.password"
        if (login := _login(ask, usual, server, username, given=given)) is not None:
            return name, login
        if called is not None:
            raise SyncdError(f"{usual} stays as it is: give the account another name, or say --password-file")
        say(f"{usual} stays as it is: give the account another name.")


def _login(
    ask: _Questions, usual: Path, server: Server, username: str, *, given: Mapping[str, str | None]
) -> _Login | None:
    """Return where the password is, None where the usual file has another one."""
    from syncd.config import values

    match given:
        case {"--client-id": str(client_id)}:
            return _Login(client_id=ask("--client-id", client_id, "", like(values.Text)))
        case {"--token-command": str(command)}:
            return _Login(token_command=ask("--token-command", command, "", command_of))
        case {"--password-file": str(file)}:
            return _Login(ask("--password-file", file, "", as_file))
        case {"--password-command": str(command)}:
            return _Login(command=ask("--password-command", command, "", command_of))
    if server.has_tokens_only:
        question = "Client id of your application there (Enter: a command prints tokens)"
        if client_id := ask("--client-id", None, question, str, default=""):
            return _Login(client_id=client_id)
        question = f"Command that prints a token, such as: oama access {username}"
        return _Login(token_command=ask("--token-command", None, question, command_of))
    question = "Command that prints the password, such as: pass show mail (Enter: it is kept in a file)"
    if words := ask("--password-command", None, question, words_of, default=""):
        return _Login(command=words)
    if os.path.lexists(usual):
        # NOTE: what is there may be the password of another account, which is nothing for this server.
        is_meant = typer.confirm(f"{usual} is there already. Is the password in it for {server.host}?")
        return _Login(in_utf8(str(usual))) if is_meant else None
    return _Login(in_utf8(str(usual)), secret=_secret(f"Password, for {usual} (not shown)"))


def _secret(question: str) -> str:
    while True:
        try:
            return in_utf8(typer.prompt(question, default="", show_default=False, hide_input=True))
        except (UnicodeDecodeError, typer.BadParameter):
            complain(f"Error: {NOT_UTF8}")


def _name_of_machine() -> str:
    import re
    import socket

    return re.sub(r"[^a-z0-9_-]", "", socket.gethostname().partition(".")[0].lower())[:64] or "here"


def _first_steps(answers: "Answers", place: Path, *, has_secret: bool, is_named: bool) -> Iterator[str]:
    """Yield what has to be done before a sync; SyncdError if we may not even look, for then we could do nothing."""
    file, root = answers.password_file, Path(answers.path).expanduser()
    try:
        if file is not None and not has_secret and not Path(file).expanduser().exists():
            yield f"first: put the password into {file}, as its first line, where nobody else reads it"
        if root.is_dir() and any(root.iterdir()):
            yield f"first: syncd adopt {answers.device}{_of(place, is_named=is_named)}, for {answers.path} is not empty"
    except OSError as error:
        raise SyncdError(f"{error.filename} cannot be looked at: {(error.strerror or 'unknown').lower()}") from error


def _of(place: Path, *, is_named: bool) -> str:
    from shlex import quote

    return f" --config {quote(str(place))}" if is_named else ""


def _next_steps(answers: "Answers", place: Path, *, is_named: bool, is_system: bool) -> Iterator[str]:
    of, file = _of(place, is_named=is_named), answers.password_file
    if is_system:
        ours = [place, *place.parent.glob("*.password")]
        if not all(one.stat().st_mode & 0o040 for one in ours):
            yield f"first: systemd-tmpfiles --create syncd.conf, which lets the service read {place} and *.password"
        around = place.parent.stat()
        if not around.st_mode & (0o011 if around.st_gid else 0o001):
            yield f"first: let the user syncd into {place.parent}, which only root may enter"
        if file is not None and Path(file) not in ours:
            yield f"first: see that the user syncd can read {file}"
        if answers.client_id is None:
            yield f"next: syncd check-config{of} --probe, which logs in at the server"
            yield "then: systemctl enable --now syncd, and syncd status shows how it is doing"
        else:  # NOTE: without the daemon root would make a store, and it is to be the service's
            yield "next: systemctl enable --now syncd"
            yield f"then: syncd auth login {answers.account}{of}, and syncd status shows how it is doing"
        if answers.kind == "pop3":
            yield f"note: it brings all mail and {_DELETES}"
        return
    deletes = f", and {_DELETES}" if answers.kind == "pop3" else ""
    if answers.client_id is not None:
        yield f"first: syncd auth login {answers.account}{of}, which asks the provider for access"
    yield f"next: syncd check-config{of} --probe, which logs in at the server"
    yield f"then: syncd sync{of}, which brings all mail once, newest first{deletes}"
    yield f"then: syncd run{of}, which keeps it in sync from then on"
