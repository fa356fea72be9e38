"""Floor 2: a first configuration from a person's answers: no more than it has to say, and what one might add."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = """\
# The configuration of syncd. `man syncd.toml` explains every key, and `syncd check-config` names every problem with its
# line. A running daemon notices an edit by itself.
"""
_SYSTEM = """\
# The places of the service, said here so that commands find them as well.
[store]
url = "sqlite:////var/lib/syncd/syncd.db"

[daemon]
socket = "/run/syncd/syncd.sock"
"""
_DELETES = "# Mail is deleted on the server once it is safe here, in the store of syncd.\n"
_PORTS = {"imap": "993", "pop3": "995"}
_MORE = {
    "imap": ('mailboxes = ["*", "!Junk"]', "which are synced; without this line all"),
    "pop3": ('max_message_size = "100MB"', "larger messages stay on the server"),
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Hold what a person has to say; paths as the file is to have them. A password is in a file, or from a command.

    token_command: prints a token in place of a password, or client_id: of the application that asks for tokens; then
    there is none.
    """

    kind: str
    host: str
    username: str
    account: str
    device: str
    path: str
    password_file: str | None = None
    password_command: tuple[str, ...] = ()
    port: int | None = None
    tls: str | None = None
    provider: str | None = None
    """Whose server `host` is, which need not be written then."""
    token_command: tuple[str, ...] = ()
    client_id: str | None = None


def first_config(answers: Answers, *, schema: Path | None, is_system: bool) -> str:
    """Return the text of the file; schema: where that for editors is, is_system: for the service of the machine."""
    parts = [_HEAD, *([_SYSTEM] if is_system else []), *_tables(answers)]
    directive = f"#:schema {schema.as_uri()}\n" if schema is not None else ""
    return directive + "\n".join(parts)


def _tables(answers: Answers) -> Iterator[str]:
    meaning = "The first line that it prints is the password"
    if answers.client_id is not None:
        login = f"oauth = {{ {_line('client_id', answers.client_id).rstrip()} }}\n"
        meaning = f"The application that asks for tokens of OAuth, after syncd auth login {answers.account}"
    elif answers.password_file is not None:
        login = _line("password_file", answers.password_file)
        meaning = "The first line of it is the password"
    elif answers.token_command:
        login = _line("token_command", list(answers.token_command))
        meaning = "The first line that it prints is a token of OAuth"
    else:
        login = _line("password_command", list(answers.password_command))
    yield "".join(
        (
            "# One table for each account. Its name is part of the names of directories on the devices.\n",
            f"[accounts.{answers.account}]\n",
            _line("type", answers.kind),
            _DELETES if answers.kind == "pop3" else "",
            _line("host", answers.host)
            if answers.provider is None
            else _line("provider", answers.provider)
            + _hint(_line("host", answers.host).rstrip(), "what that stands for"),
            f"port = {answers.port}\n"
            if answers.port is not None
            else _hint(f"port = {_PORTS[answers.kind]}", "needed only where the server has another"),
            _line("tls", answers.tls)
            if answers.tls is not None
            else _hint('tls = "implicit"', 'encrypted from the beginning; or "starttls"'),
            _line("username", answers.username),
            f"# {meaning}:\n",
            login,
            _hint(*_MORE[answers.kind]),
        )
    )
    yield "".join(
        (
            "# One table for each device: a directory that syncd fills, for any mail program that reads Maildir.\n",
            f"[devices.{answers.device}]\n",
            _line("path", answers.path),
            _hint('max_age = "365d"', "leaves older messages out"),
            _hint('max_size = "25MB"', "leaves larger messages out"),
        )
    )


def _line(key: str, value: str | list[str]) -> str:
    # NOTE: a text of JSON is one of TOML, but for DEL, which only JSON allows as it is.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}\n".replace("\x7f", "\\u007F")


def _hint(line: str, meaning: str) -> str:
    return f"# {line:<38}# {meaning}\n"
