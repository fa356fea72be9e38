"""The daemon talks to the servers of its accounts, and to nobody else."""

import ast
from collections.abc import Callable
from pathlib import Path

from tests.servers.daemon import Daemon
from tests.servers.dovecot import Dovecot
from tests.system.mail import imap_account, letter, pop3_account

MakeDaemon = Callable[..., Daemon]

RECORDER = """
import os, sys

CALLS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")

def record(event, arguments):
    if event in CALLS:
        of = arguments[:2] if event.startswith("socket.get") else (str(arguments[-1]), None)
        with open(os.environ["RECORD"], "a") as file:
            print((event, of[0]), file=file)

sys.addaudithook(record)
"""
"""Python imports this by itself at its start, before anything of syncd. A connection is told before it is made."""

TEMPTING = (
    b"Disposition-Notification-To: tracker@example.net\r\nList-Unsubscribe: <http://example.net/leave>\r\n"
    b"Content-Type: text/html\r\n\r\n<img src='http://example.net/seen.png'><link href='http://example.net/a.css'>\r\n"
)


def test_only_the_servers_of_accounts_are_connected_to(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """No name is looked up but theirs: no updates, no statistics, and nothing that a message asks for."""
    tempting = letter(1).replace(b"\r\n\r\n", b"\r\n" + TEMPTING, 1)
    for user in (mail_user, f"{mail_user}p"):
        dovecot.deliver(user, "INBOX", tempting)
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(RECORDER)
    (tmp_path / "start" / "uvloop.py").write_text("raise ImportError  # it connects without telling Python")
    calls = tmp_path / "calls"
    accounts = {
        "work": imap_account(dovecot, mail_user) | {"host": "localhost"},
        "isp": pop3_account(dovecot, f"{mail_user}p"),
    }

    with make_daemon(accounts, environment={"PYTHONPATH": str(tmp_path / "start"), "RECORD": str(calls)}) as daemon:
        daemon.sync()

    told = {ast.literal_eval(line) for line in calls.read_text().splitlines()}
    asked = {name for event, name in told if event.startswith("socket.get")}
    connected = {to for event, to in told if not event.startswith("socket.get")}
    assert {name.decode() if isinstance(name, bytes) else name for name in asked} <= {"localhost", dovecot.host}
    ports = [dovecot.imap_port, dovecot.pop3_port]
    assert {f"('127.0.0.1', {port})" for port in ports} <= connected
    servers = {f"('127.0.0.1', {port})" for port in ports} | {f"('::1', {port}, 0, 0)" for port in ports}
    assert connected <= servers | {str(daemon.socket)}
