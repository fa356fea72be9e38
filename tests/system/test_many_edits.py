"""A configuration that is edited again and again while mail comes and devices change it."""

import imaplib
import itertools
import random
import re
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

from tests.seed import SEED
from tests.servers.daemon import Daemon, wait_until
from tests.servers.delivery import Delivery, append_all
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account, letter, mark_seen, pop3_account
from tests.system.reloading import Tables, connections, logged, put_in_place, sync

EDITS = 50
_INBOX = 40
_DELETED_MAX = 8  # fewer than any guard here holds
_ADDED_FROM = 5000
_NUMBER = re.compile(rb"^Subject: letter (\d+)", re.MULTILINE)


def test_fifty_edits_under_load_lose_nothing_and_connect_nobody_needlessly(
    dovecot: Dovecot, mail_user: str, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Whatever is edited, and however: in the end all mail and all flags are everywhere, once, and one login did it."""
    print(f"seed {SEED}")
    draw = random.Random(SEED)
    deliver(dovecot, mail_user, _INBOX)
    deliver(dovecot, mail_user, 30, mailbox="Archive", first=1000)
    deliver(dovecot, f"{mail_user}o", 5)
    deliver(dovecot, f"{mail_user}p", 5)
    tables = Edited(dovecot, mail_user, tmp_path)

    with make_daemon({"work": tables.work}, devices=("laptop", "nas")) as daemon:
        sync(daemon)
        with dovecot.imap(mail_user) as client, Load(client, tmp_path / "nas", draw) as load:
            for number, (edit, is_valid) in enumerate(tables.edits(draw)):
                if number % 2:
                    put_in_place(daemon, edit)
                else:
                    daemon.configure(edit)
                if number % 3 == 0 or not is_valid:
                    status, answer = daemon.request("POST", "/reload")
                    assert status == 200, answer
                wait_until(lambda n=number: load.steps > 2 * n, 20, "mail changes meanwhile")
        put_in_place(daemon, tables.whole)
        wait_until(lambda: logged(daemon, "config_reloaded") and is_served(daemon), 20, "the last edit counts")
        sync(daemon)
        status = daemon.status()

        inbox = {*range(_INBOX + load.delivered), *load.added} - load.deleted
        for device in ("laptop", "nas", "phone"):
            root = tmp_path / device
            assert sorted(inbox) == sorted(numbers(files(root, "work.INBOX"))), device
            assert sorted(load.deleted) == sorted(numbers(files(root, "work.Trash"))), device
            assert [*range(1000, 1030)] == sorted(numbers(files(root, "work.Archive"))), device
            assert load.read == set(numbers(file for file in files(root, "work.INBOX") if is_seen(file))), device
            assert [len(files(root, f"{name}.INBOX")) for name in ("other", "isp")] == [5, 5], device
        with dovecot.imap(mail_user) as client:
            assert client.select("INBOX", readonly=True)[1] == [str(len(inbox)).encode()]
            assert len(client.search(None, "SEEN")[1][0].split()) == len(load.read)

    assert min(load.delivered, len(load.read), len(load.added)) > 5
    assert len(load.deleted) > 3
    assert (status["holds"], status["troubles"], status["config"]["problems"]) == ([], [], [])
    assert connections(daemon)["work"] == 1
    assert len(logged(daemon, "config_reloaded")) > 15
    assert len(logged(daemon, "config_refused")) > 2
    for event in ("tasks_abandoned", "reload_failed", "connection_lost", "device_failed"):
        assert not logged(daemon, event)


class Edited:
    """The tables of a configuration, one edit after the other; the account `work` is only told what to do."""

    def __init__(self, server: Dovecot, user: str, directory: Path) -> None:
        self.work = imap_account(server, user)
        others = {"other": imap_account(server, f"{user}o"), "isp": pop3_account(server, f"{user}p")}
        devices = {name: {"path": str(directory / name)} for name in ("laptop", "nas", "phone")}
        self.whole: Tables = {"accounts": {"work": self.work, **others}, "devices": devices}

    def edits(self, draw: random.Random) -> Iterator[tuple[Tables, bool]]:
        """Yield fifty, all kinds in turn, toggled there and back, and tell which can be used."""
        now = deepcopy(self.whole)
        kinds = self._kinds(now)
        order = [kind for _ in range(EDITS // len(kinds) + 1) for kind in draw.sample(kinds, len(kinds))]
        for edit in order[:EDITS]:
            invalid = edit()
            yield {**now, **(invalid or {})}, not invalid

    def _kinds(self, now: Tables) -> list[Callable[[], Tables | None]]:
        accounts, devices = now["accounts"], now["devices"]
        kinds: list[Callable[[], Tables | None]] = []

        def toggle(table: Callable[[], dict[str, object] | None], key: str, value: object) -> None:
            def edit() -> None:
                of = table()
                if of is not None and of.pop(key, None) is None:
                    of[key] = deepcopy(value)

            kinds.append(edit)

        for name in ("other", "isp"):
            toggle(lambda: accounts, name, self.whole["accounts"][name])
        for name in ("laptop", "nas", "phone"):
            toggle(lambda: devices, name, self.whole["devices"][name])
        toggle(lambda: accounts["work"], "poll_interval", "1m")
        toggle(lambda: accounts["work"], "mailboxes", ["*", "!Nowhere"])
        toggle(lambda: devices.get("phone"), "mailboxes", ["INBOX"])
        toggle(lambda: devices.get("phone"), "accounts", ["work"])
        toggle(lambda: devices.get("laptop"), "max_age", "3650d")
        toggle(lambda: devices.get("laptop"), "link", False)
        toggle(lambda: devices.get("nas"), "settle", "100ms")
        toggle(lambda: now.setdefault("guard", {}), "count", 30)
        toggle(lambda: now.setdefault("daemon", {}), "log_level", "debug")
        toggle(lambda: now.setdefault("store", {}), "retention", "9d")
        kinds.append(lambda: {"devices": {"laptop": {"path": 7}}})
        return kinds


class Load:
    """Deliver on the server, and read, add and delete on a device, on another thread until left."""

    def __init__(self, client: imaplib.IMAP4, root: Path, draw: random.Random) -> None:
        self.steps = 0
        self.delivered = 0
        self.added: set[int] = set()
        self.read: set[int] = set()
        self.deleted: set[int] = set()
        self._client = client
        self._root = root
        self._draw = random.Random(draw.random())
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for do in itertools.cycle((self._deliver, self._read, self._add, self._read, self._delete)):
                if self._is_over.wait(0.05):
                    return
                do()
                self.steps += 1
        except BaseException as error:
            self._error = error

    def _deliver(self) -> None:
        append_all(self._client, "INBOX", [Delivery(letter(_INBOX + self.delivered))])
        self.delivered += 1

    def _read(self) -> None:
        if (chosen := self._chosen()) is not None:
            mark_seen(chosen[0])
            self.read.add(chosen[1])

    def _add(self) -> None:
        number = _ADDED_FROM + len(self.added)
        directory = self._root / ".work.INBOX"
        written = directory / "tmp" / f"1700000000.{number}.host"
        written.write_bytes(letter(number).replace(b"\r\n", b"\n"))
        written.rename(directory / "new" / written.name)
        self.added.add(number)

    def _delete(self) -> None:
        if len(self.deleted) < _DELETED_MAX and (chosen := self._chosen()) is not None:
            chosen[0].unlink()
            self.deleted.add(chosen[1])
            self.read.discard(chosen[1])

    def _chosen(self) -> tuple[Path, int] | None:
        """Return an unread file that was here from the start, with its number."""
        unread = [file for file in files(self._root, "work.INBOX") if not is_seen(file)]
        found = [(file, number) for file in unread for number in numbers([file]) if number < _INBOX]
        return self._draw.choice(found) if found else None


def is_seen(file: Path) -> bool:
    return ":2," in file.name and "S" in file.name.rpartition(":2,")[2]


def is_served(daemon: Daemon) -> bool:
    """Tell whether all accounts and devices are there."""
    status = daemon.status()
    return (len(status["accounts"]), len(status["devices"])) == (3, 3) and not status["config"]["problems"]


def numbers(found: "list[Path] | Iterator[Path]") -> list[int]:
    """Return the numbers of letters, as their subjects say."""
    return [int(match[1]) for file in found if (match := _NUMBER.search(file.read_bytes()))]
