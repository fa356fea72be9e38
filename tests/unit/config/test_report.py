"""The report of what is wrong."""

from pathlib import Path

import pytest

from syncd.config.problems import ConfigError
from tests.unit.config.builders import IMAP, LAPTOP, POP3, load, problems


def test_all_problems_come_in_one_report_in_order_of_lines(tmp_path: Path) -> None:
    """Nobody fixes one problem only to meet the next: broken tables do not hide what is wrong elsewhere."""
    text = """\
[accounts.work]
type = "imap"
host = "imap.example.org"
username = "ana"
pasword = "x"
prot = 143

[accounts.isp]
tpye = "pop3"

[devices.laptop]
path = "mail"
settle = "soon"

[devices.phone]
path = "mail/phone"

[devices.nas]
path = "mail/phone/nas"
accounts = ["wrok"]

[gaurd]
count = 3

[daemon]
listen = "127.0.0.1:94640"

[hooks]
on_new_mail = []
on_holds = ["x"]

[accounts.home]
type = "imap"
host = "imap.example.org"
username = "ana"
password = "x"
provider = "gmial"
"""
    assert problems(tmp_path, text) == [
        'syncd.toml:5: accounts.work.pasword: unknown key (did you mean "password"?)',
        'syncd.toml:6: accounts.work.prot: unknown key (did you mean "port"?)',
        'syncd.toml:8: accounts.isp.type: missing: "imap" or "pop3"',
        'syncd.toml:9: accounts.isp.tpye: unknown key (did you mean "type"?)',
        'syncd.toml:13: devices.laptop.settle: should be a duration such as "30d", "5m", "1s" or "250ms"',
        "syncd.toml:19: devices.nas.path: inside of devices.phone.path",
        'syncd.toml:20: devices.nas.accounts: there is no account "wrok" (did you mean "work"?)',
        'syncd.toml:22: gaurd: unknown key (did you mean "guard"?)',
        "syncd.toml:26: daemon.listen: should have a port between 1 and 65535",
        "syncd.toml:29: hooks.on_new_mail: should not be empty",
        'syncd.toml:30: hooks.on_holds: unknown key (did you mean "on_hold"?)',
        'syncd.toml:37: accounts.home.provider: unknown provider (did you mean "gmail"?)',
    ]


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            'accounts.work = { type = "imap", host = "h", hosts = 1, username = "u", password = "p" }',
            "1: accounts.work.hosts: u",
        ),
        (
            '[accounts]\nisp.type = "pop3"\nisp.host = "h"\nisp.password = "p"\nisp."user\\u006eame" = 1',
            "5: accounts.isp.username: should be a valid string",
        ),
        (
            '[accounts.work]\ntype = "imap"\nhost = "h"\nusername = "u"',
            "1: accounts.work: one of password, password_fi",
        ),
        (IMAP + 'password_file = "x"', "1: accounts.work: password and password_file exclude each other"),
        (IMAP + 'keep = "0d"', "6: accounts.work.keep: only accounts of POP3 have this key"),
        (POP3 + 'mailboxes = ["*"]', "6: accounts.isp.mailboxes: only accounts of IMAP have this key"),
        ('[accounts.x]\ntype = "nntp"', '2: accounts.x.type: should be "imap" or "pop3"'),
        (
            '[accounts."Work Mail"]\n' + IMAP.partition("\n")[2],
            '1: accounts."Work Mail": should be a name of "a" to "z"',
        ),
        ("accounts = 3", "1: accounts: should be a table"),
        ("[accounts]\nwork = 3", "2: accounts.work: should be a table"),
        (IMAP + 'mailboxes = "*"', "6: accounts.work.mailboxes: should be a list"),
        (IMAP + 'mailboxes = ["*", ""]', "6: accounts.work.mailboxes: should be a pattern that is not empty"),
        (IMAP + 'mailboxes = ["!"]', "6: accounts.work.mailboxes: should be a pattern that is not empty"),
        (IMAP + "port = 0", "6: accounts.work.port: should be greater than or equal to 1"),
        (IMAP + "port = 65536", "6: accounts.work.port: should be less than or equal to 65535"),
        (IMAP + 'tls = "ssl"', "6: accounts.work.tls: should be 'implicit', 'starttls' or 'none'"),
        (IMAP + "poll_interval = 5", "6: accounts.work.poll_interval: should be a duration with its unit"),
        (IMAP + 'poll_interval = "0s"', "6: accounts.work.poll_interval: should be greater than 0"),
        (IMAP.replace("imap.example.org", "imaps://x"), "3: accounts.work.host: should be a host name or an address"),
        (IMAP.replace("imap.example", "imap..example"), "3: accounts.work.host: should be a host name or an address"),
        (IMAP.replace("imap.example", ".imap.example"), "3: accounts.work.host: should be a host name or an address"),
        (IMAP.replace("example.org", "example.org:993"), "3: accounts.work.host: should be a host name or an address"),
        (IMAP.replace("imap.example.org", "[::1]:993"), "3: accounts.work.host: should be a host name or an address"),
        (IMAP.replace("ana", ""), "4: accounts.work.username: should be a text of one line"),
        (IMAP.replace("ana", "ana\\r\\nDELE 1"), "4: accounts.work.username: should be a text of one line"),
        (IMAP.replace("ana", "a\\u0000na"), "4: accounts.work.username: should be a text of one line"),
        (IMAP.replace('"correct horse"', '""'), "5: accounts.work.password: should not be empty"),
        (
            IMAP.replace('password = "correct horse"', "password_command = []"),
            "5: accounts.work.password_command: should not be",
        ),
        (IMAP.replace('password = "correct horse"', 'password_command = "pass x"'), "should be a list"),
        ('[devices.a]\npath = ""', "2: devices.a.path: should be a path"),
        ("[devices.a]\npath = 3", "2: devices.a.path: should be a path"),
        ('[devices.a]\npath = "a\\u0000b"', "2: devices.a.path: should be a path"),
        ('[devices.a]\npath = "~nobody-of-that-name/x"', "2: devices.a.path: should not begin with ~ and a name"),
        ('[store]\nurl = "sqlite:///~nobody-of-that-name/x"', "2: store.url: should not begin with ~ and a name"),
        (LAPTOP + 'max_size = "0B"', "3: devices.laptop.max_size: should be greater than 0"),
        (LAPTOP + 'layout = "mbox"', "3: devices.laptop.layout: should be 'maildir++' or 'fs'"),
        ("[guard]\nshare = 1.5", "2: guard.share: should be less than or equal to 1"),
        ('[store]\nurl = "mysql://x/y"', "2: store.url: should be sqlite:////path/to/file or postgresql://user@host/"),
        ('[store]\nurl = "sqlite://"', "2: store.url: should be sqlite:////path/to/file"),
        ('[store]\nurl = "sqlite:///:memory:"', "2: store.url: should name a file"),
        ('[store]\nurl = "postgresql://db.example.org"', "2: store.url: should be sqlite:////path"),
        ("[store]\nurl = 5", "2: store.url: should be a valid string"),
        ('[daemon]\nlog_level = "loud"', "2: daemon.log_level: should be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_problem_names_line_key_and_what_is_wrong(tmp_path: Path, text: str, report: str) -> None:
    """Each way to get a key wrong is one line that a person can act on."""
    (line,) = problems(tmp_path, text)

    assert report in line
    assert line.startswith("syncd.toml:")


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            IMAP + IMAP.replace("accounts.work", "accounts.two"),
            "6: accounts.two: the same host and username as account",
        ),
        (
            IMAP + IMAP.replace("accounts.work", "accounts.two").replace("imap.example", "IMAP.Example") + "port = 143",
            "6: accounts.two: the same host and username as accounts.work",
        ),
        (
            IMAP + POP3.replace("pop.example.net", "imap.example.org"),
            "6: accounts.isp: the same host and username as accounts.work",
        ),
        (LAPTOP + '[devices.b]\npath = "./laptop/"', "4: devices.b.path: the same directory as devices.laptop.path"),
        (LAPTOP + '[devices.b]\npath = "laptop/../laptop/x"', "4: devices.b.path: inside of devices.laptop.path"),
        (
            LAPTOP + '[devices.b]\npath = "."\n[store]\nurl = "sqlite:////x/y.db"',
            "4: devices.b.path: contains devices.l",
        ),
        (LAPTOP + '[store]\nurl = "sqlite:///laptop/db/x"', "2: devices.laptop.path: contains the store"),
        (LAPTOP + '[store]\nurl = "sqlite:///laptop"', "2: devices.laptop.path: contains the store"),
        (LAPTOP + 'accounts = ["work"]', '3: devices.laptop.accounts: there is no account "work"'),
        (IMAP + 'tls = "none"', '6: accounts.work.tls: tls = "none" to another machine needs allow_plaintext = true'),
    ],
)
def test_tables_that_do_not_fit_together_are_a_problem(tmp_path: Path, text: str, report: str) -> None:
    """What is right in itself but dangerous together is refused before anything runs."""
    (line,) = problems(tmp_path, text)

    assert f"syncd.toml:{report}" in line


def test_same_directory_by_a_symbolic_link_is_a_problem(tmp_path: Path) -> None:
    """Two devices never write into one directory under two names."""
    (tmp_path / "laptop").mkdir()
    (tmp_path / "link").symlink_to("laptop")

    (line,) = problems(tmp_path, LAPTOP + '[devices.b]\npath = "link"')

    assert "the same directory as devices.laptop.path" in line


@pytest.mark.parametrize(
    "text",
    [
        IMAP + IMAP.replace("accounts.work", "accounts.two").replace("ana", "bob"),
        IMAP.replace("imap.example.org", "127.0.0.1") + 'tls = "none"',
        IMAP.replace("imap.example.org", "localhost") + 'tls = "none"',
        IMAP.replace("imap.example.org", "::1") + 'tls = "none"',
        IMAP + 'tls = "none"\nallow_plaintext = true',
        "".join(
            IMAP.replace("work", name).replace("imap.example.org", "127.0.0.1") + f"port = {port}\n"
            for name, port in (("a", 1143), ("b", 1144))
        ),
        LAPTOP + '[devices.b]\npath = "laptop2"',
    ],
)
def test_what_only_looks_alike_is_no_problem(tmp_path: Path, text: str) -> None:
    """Two users, two tunnels, two directories with one beginning, plaintext that stays here: all fine."""
    assert problems(tmp_path, text) == []


def test_symbolic_links_in_a_circle_are_no_traceback(tmp_path: Path) -> None:
    """A path that leads nowhere is the device's trouble later, not the checker's now."""
    (tmp_path / "laptop").symlink_to("laptop")

    assert problems(tmp_path, LAPTOP) == []


def test_unknown_account_of_a_broken_table_is_not_unknown(tmp_path: Path) -> None:
    """An account that is there but broken is reported once, where it is broken."""
    (line,) = problems(tmp_path, IMAP + "port = 0\n" + LAPTOP + 'accounts = ["work"]')

    assert "accounts.work.port" in line


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("[accounts.work\n", "syncd.toml:1: not TOML: expected"),
        ("[store]\n[store]\n", "syncd.toml:2: not TOML: cannot declare"),
        ("a = 1\na = 2", "syncd.toml:2: not TOML: cannot overwrite"),
        ("\n\nx =", "syncd.toml:3: not TOML: invalid value"),
        ("\n\nx = imap", 'syncd.toml:3: not TOML: invalid value (text is in quotes, "like this")'),
        ("x = [1,\n2", "syncd.toml:2: not TOML: unclosed array"),
        ("a = " + "[" * 5000, "syncd.toml:1: not TOML: "),
    ],
)
def test_text_that_is_not_toml_is_named_with_its_line(tmp_path: Path, text: str, report: str) -> None:
    """A syntax error is a problem like others."""
    (line,) = problems(tmp_path, text)

    assert line.startswith(report)


def test_file_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    """A file in another encoding is a problem, not a traceback."""
    (tmp_path / "syncd.toml").write_bytes(b"[store]\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"syncd\.toml:2: not UTF-8"):
        load(tmp_path / "syncd.toml", environ={})


def test_key_cannot_forge_a_line_or_move_the_cursor(tmp_path: Path) -> None:
    """What a key contains is shown escaped."""
    (line,) = problems(tmp_path, '"a\\u001b[2J\\nsyncd: all is well" = 1')

    assert line == 'syncd.toml:1: "a\\x1b[2J\\nsyncd: all is well": unknown key'
