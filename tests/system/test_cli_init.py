"""`syncd init` as a process, asked in a terminal and told by options."""

import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.servers.daemon import ROOT
from tests.system.test_docs import blocks

PROGRAM = (sys.executable, "-m", "syncd", "init")
OPTIONS = {
    "--host": "imap.example.org",
    "--username": "ana",
    "--account": "work",
    "--password-command": "pass show 'mail/work'",
    "--device": "laptop",
    "--path": "~/mail/laptop",
}
TO_THE_PASSWORD = {
    "Server, such as": "imap.example.org",
    "User name there:": "ana",
    "Name of the account": "work",
    "Command that prints the password": "",
}
TO_THE_END = {"Name of this device": "laptop", "Directory for its mail": ""}


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "SYNCD_CONFIG": str(home / "etc" / "syncd.toml")}


def init(
    home: Path,
    *without: str,
    option: tuple[str, str | bytes] | None = None,
    port: str | None = None,
    kind: str | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal, with all options but some, or with another value of one."""
    options: dict[str, str | bytes] = {**OPTIONS, **dict([option] if option else [])}
    options |= {} if port is None else {"--port": port}
    options |= {} if kind is None else {"--type": kind}
    words = [word for name, value in options.items() if name not in without for word in (name, value)]
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=ROOT,
        env=environment(home) | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def in_terminal(home: Path, answers: Mapping[str, str] | Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Answer in a terminal what is asked there, in this order; return the exit code and all that was shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execve(PROGRAM[0], PROGRAM, environment(home))
    shown, answered = b"", 0
    with os.fdopen(terminal, "r+b", buffering=0) as stream:
        for question, answer in answers.items() if isinstance(answers, Mapping) else answers:
            while not (
                (new := shown[answered:]).endswith(b" ") and question in new.decode(errors="replace").splitlines()[-1]
            ):
                shown += stream.read(1)
            answered = len(shown)
            stream.write(os.fsencode(f"{answer}\n"))
        try:
            while piece := stream.read(4096):
                shown += piece
        except OSError:
            pass  # the terminal is gone with who used it
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode(errors="replace")


def test_person_who_answers_has_a_configuration_and_a_password_file(tmp_path: Path) -> None:
    """What cannot be is asked again, the password is neither shown nor in the configuration, both files are private."""
    code, shown = in_terminal(
        tmp_path,
        {
            "Type of the server, imap or pop3 [imap]:": "smtp",
            "or pop3 [imap]: ": "",
            "Server, such as imap.example.org, or your address:": "imap.example.org",
            "User name there:": "ana",
            "Name of the account": "work",
            "Command that prints the password": "",
            "(not shown):": "tr0ub4dor",
            "Name of this device": "laptop",
            "Directory for its mail [~/mail/laptop]:": "",
        },
    )

    file, password = tmp_path / "etc" / "syncd.toml", tmp_path / "etc" / "work.password"
    assert code == 0, shown
    assert "should be imap or pop3" in shown
    assert "tr0ub4dor" not in shown
    assert shown.splitlines()[-1].startswith("then: syncd run")
    account = {"type": "imap", "host": "imap.example.org", "username": "ana", "password_file": str(password)}
    written = {"accounts": {"work": account}, "devices": {"laptop": {"path": "~/mail/laptop"}}}
    assert tomllib.loads(file.read_text()) == written
    assert password.read_text() == "tr0ub4dor\n"
    assert [one.stat().st_mode & 0o7777 for one in (file.parent, file, password)] == [0o700, 0o600, 0o600]


def test_options_say_it_all_and_nothing_is_asked(tmp_path: Path) -> None:
    """The file is that of the README, and what comes next is said."""
    ended = init(tmp_path)

    file = tmp_path / "etc" / "syncd.toml"
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == f"{file}: written"
    assert tomllib.loads(file.read_text()) == tomllib.loads(blocks(ROOT / "README.md", "toml")[0])


def test_address_is_enough_at_a_provider_that_is_known(tmp_path: Path) -> None:
    """The server is not asked for, the user name is offered, and it is said that an app password is needed."""
    code, shown = in_terminal(
        tmp_path,
        {
            "Type of the server": "",
            "Server, such as imap.example.org, or your address:": "ana@GoogleMail.com",
            "User name there [ana@GoogleMail.com]:": "",
            "Name of the account": "work",
            "Command that prints the password": "pass show work",
        }
        | TO_THE_END,
    )

    assert code == 0, shown
    assert "Gmail takes an app password" in shown
    account = {
        "type": "imap",
        "provider": "gmail",
        "username": "ana@GoogleMail.com",
        "password_command": ["pass", "show", "work"],
    }
    assert tomllib.loads((tmp_path / "etc" / "syncd.toml").read_text())["accounts"] == {"work": account}


def test_address_says_server_and_user_name_to_who_has_no_terminal(tmp_path: Path) -> None:
    """Some providers want only what is before the @."""
    ended = init(tmp_path, "--username", option=("--host", "ana@icloud.com"))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("iCloud takes an app-specific password")
    account = tomllib.loads((tmp_path / "etc" / "syncd.toml").read_text())["accounts"]["work"]
    assert (account["provider"], account["username"]) == ("icloud", "ana")


def test_provider_that_takes_only_tokens_is_asked_for_a_command_that_prints_one(tmp_path: Path) -> None:
    """A password would be of no use there, and none is asked for."""
    code, shown = in_terminal(
        tmp_path,
        {
            "Type of the server": "",
            "Server, such as": "ana@outlook.com",
            "User name there [ana@outlook.com]:": "",
            "Name of the account": "work",
            "Client id of your application there": "",
            "Command that prints a token, such as: oama access ana@outlook.com:": "oama access ana@outlook.com",
        }
        | TO_THE_END,
    )

    assert code == 0, shown
    account = tomllib.loads((tmp_path / "etc" / "syncd.toml").read_text())["accounts"]["work"]
    assert account["token_command"] == ["oama", "access", "ana@outlook.com"]
    assert not {"password_command", "password_file"} & account.keys()


def test_password_is_no_answer_where_only_tokens_are_taken(tmp_path: Path) -> None:
    """An option has the token there, and says it elsewhere as well."""
    password = init(tmp_path, "--username", option=("--host", "ana@outlook.com"))

    assert password.returncode == 2
    assert "only tokens of OAuth: say --client-id or --token-command" in " ".join(password.stderr.split())
    assert list(tmp_path.iterdir()) == []

    token = init(tmp_path, "--password-command", option=("--token-command", "oama access ana"))

    assert (token.returncode, token.stderr) == (0, "")
    account = tomllib.loads((tmp_path / "etc" / "syncd.toml").read_text())["accounts"]["work"]
    assert account["token_command"] == ["oama", "access", "ana"]


def test_application_that_asks_for_tokens_is_what_syncd_logs_in_with(tmp_path: Path) -> None:
    """Its id is all there is to say, and the next step is to log in once."""
    asked = tmp_path / "asked"
    code, shown = in_terminal(
        asked,
        {
            "Type of the server": "",
            "Server, such as": "ana@outlook.com",
            "User name there [ana@outlook.com]:": "",
            "Name of the account": "work",
            "Client id of your application there": "0-1-2",
        }
        | TO_THE_END,
    )
    said = init(tmp_path, "--password-command", option=("--client-id", "0-1-2"))

    assert (code, said.returncode) == (0, 2), shown
    account = tomllib.loads((asked / "etc" / "syncd.toml").read_text())["accounts"]["work"]
    assert account["oauth"] == {"client_id": "0-1-2"}
    assert "first: syncd auth login work" in " ".join(shown.split())
    assert "accounts.work.oauth: token_url, scopes" in " ".join(said.stderr.split())  # of a server of one's own


@pytest.mark.parametrize("missing", ["--host", "--username", "--password-command"])
def test_without_a_terminal_what_is_missing_is_a_slip_of_usage(tmp_path: Path, missing: str) -> None:
    """It is named, and nothing is written."""
    ended = init(tmp_path, missing)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert missing in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_provider_without_pop3_is_no_answer_for_pop3(tmp_path: Path) -> None:
    """It is told where it is asked, and not once the file is there."""
    ended = init(tmp_path, option=("--host", "ana@icloud.com"), kind="pop3")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "this provider has no POP3" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_configuration_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Running it again by mistake costs nothing."""
    init(tmp_path)
    before = (tmp_path / "etc" / "syncd.toml").read_bytes()

    again = init(tmp_path, "--account")

    assert again.returncode == 1
    assert "syncd.toml is there already" in again.stderr
    assert (tmp_path / "etc" / "syncd.toml").read_bytes() == before


def test_problem_of_what_would_be_written_is_told_before_anything_is(tmp_path: Path) -> None:
    """What only shows together with all else, such as a variable, is found at once; the next try is not blocked."""
    ended = init(tmp_path, SYNCD_STORE__URL=f"sqlite:///{tmp_path}/mail/laptop/syncd.db")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("devices.laptop.path: contains the store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--path", "~", "should be a directory of its own"),
        ("--path", "/", "should be a directory of its own"),
        ("--path", "~/.local", "contains the store"),
        ("--path", "~nosuch/mail", "no user's"),
        ("--password-command", " ", "should be a command"),
        ("--username", b"an\xe9", "should be UTF-8"),
        ("--path", b"/mail/an\xe9", "should be UTF-8"),
        ("--host", "imap..example", "a host name"),
        ("--host", "@gmail.com", "should have a name before the @"),
        ("--host", "ana@example.org", "no provider is known by this address"),
        ("--host", "imap.example.org:99999", "should be a number between 1 and 65535"),
        ("--port", "99x", "should be a number between 1 and 65535"),
        ("--port", "0000019999999", "should be a number between 1 and 65535"),
        ("--tls", "ssl", "should be implicit, starttls or none"),
    ],
)
def test_answer_that_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, option: str, value: str | bytes, told: str
) -> None:
    """Exit code 2 is: nothing was done."""
    ended = init(tmp_path, option=(option, value))

    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in " ".join(ended.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--password-file", "--path"])
def test_place_that_may_not_be_looked_at_is_told_before_anything_is_written(tmp_path: Path, option: str) -> None:
    """A name that is too long stops root as a directory that may not be entered stops others."""
    place = tmp_path / ("x" * 300)
    without = ("--password-command",) if option == "--password-file" else ()

    ended = init(tmp_path, *without, option=(option, str(place)))

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"syncd: {place} cannot be looked at: file name too long\n"
    assert list(tmp_path.iterdir()) == []


def test_person_is_told_that_pop3_empties_the_server(tmp_path: Path) -> None:
    """Before anything is brought: where it is asked, in the file, and beside the command that does it."""
    code, shown = in_terminal(
        tmp_path, {"Type of the server": "pop3"} | TO_THE_PASSWORD | {"(not shown):": "tr0ub4dor"} | TO_THE_END
    )

    told = "deletes it on the server once it is safe here"
    assert code == 0, shown
    assert shown.index(told) < shown.index("Server, such as pop3")
    assert told in next(line for line in shown.splitlines() if line.startswith("then: syncd sync"))
    assert "# Mail is deleted on the server once it is safe here" in (tmp_path / "etc" / "syncd.toml").read_text()


def test_password_that_is_there_goes_to_no_other_server_unasked(tmp_path: Path) -> None:
    """A file of an earlier account has its password; no is the answer of who only presses Enter."""
    password = tmp_path / "etc" / "work.password"
    password.parent.mkdir()
    password.write_text("of another server\n")
    question = f"{password} is there already. Is the password in it for imap.example.org? [y/N]: "
    asked = [*TO_THE_PASSWORD.items(), (question, ""), ("Name of the account", "home")]
    asked += [("Command that prints the password", ""), ("(not shown):", "tr0ub4dor"), *TO_THE_END.items()]

    code, shown = in_terminal(tmp_path, [("Type of the server", ""), *asked])

    assert code == 0, shown
    assert f"{password} stays as it is" in shown
    assert password.read_text() == "of another server\n"
    assert (password.parent / "home.password").read_text() == "tr0ub4dor\n"

    (password.parent / "syncd.toml").unlink()
    asked = [*TO_THE_PASSWORD.items(), (question, "y"), *TO_THE_END.items()]
    code, shown = in_terminal(tmp_path, [("Type of the server", ""), *asked])

    assert code == 0, shown
    assert f'password_file = "{password}"' in (password.parent / "syncd.toml").read_text()


def test_answer_that_cannot_be_used_is_asked_for_again_and_nothing_else(tmp_path: Path) -> None:
    """Whatever shows that it cannot be: its form, the rest of the configuration, or a look at it."""
    last = [
        ("Directory for its mail", wrong) for wrong in ("~", "~/.local", "x" * 300, "~nosuch/mail", "~/mail/laptop")
    ]
    passwords = [("(not shown):", os.fsdecode(b"tr\xf6ub4dor")), ("(not shown):", "tr0ub4dor")]
    asked = [("Type of the server", ""), *TO_THE_PASSWORD.items(), *passwords]

    code, shown = in_terminal(tmp_path, [*asked, ("Name of this device", "laptop"), *last])

    assert code == 0, shown
    assert [shown.count(why) for why in ("of its own", "the store", "too long", "no user's")] == [1, 1, 1, 1]
    assert (tmp_path / "etc" / "work.password").read_text() == "tr0ub4dor\n"
    assert tomllib.loads((tmp_path / "etc" / "syncd.toml").read_text())["devices"]["laptop"] == {
        "path": "~/mail/laptop"
    }


@pytest.mark.parametrize(
    ("said", "host", "port"),
    [("imap.example.org:1993", "imap.example.org", 1993), ("::1", "::1", None), ("[::1]:1993", "::1", 1993)],
)
def test_port_stands_behind_the_server(tmp_path: Path, said: str, host: str, port: int | None) -> None:
    """In an answer as in the option, as people write it; an address of IPv6 has none by itself."""
    ended = init(tmp_path, option=("--host", said))

    assert ended.returncode == 0, ended.stderr
    written = tomllib.loads((tmp_path / "etc" / "syncd.toml").read_text())["accounts"]["work"]
    assert (written["host"], written.get("port")) == (host, port)


def test_option_is_never_silently_preferred_to_another_nor_a_directory_taken_for_a_file(tmp_path: Path) -> None:
    """Two ports are a slip, and a password is in no directory."""
    two_ports = init(tmp_path, option=("--host", "imap.example.org:1993"), port="993")
    directory = init(tmp_path, "--password-command", option=("--password-file", "~"))

    assert (two_ports.returncode, directory.returncode) == (2, 2)
    assert "says 993, and the server 1993" in " ".join(two_ports.stderr.split())
    assert "should be a file" in " ".join(directory.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    """Nobody answers nine questions for nothing."""
    (tmp_path / "etc").touch()

    code, shown = in_terminal(tmp_path, {})

    assert code == 1
    assert shown.strip().endswith("etc is no directory; name another place with --config")
