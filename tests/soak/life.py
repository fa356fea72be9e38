"""A long life in a short time: rounds of mail and trouble, each a day after the one before, and a sample of each."""

import json
import os
import random
import signal
import socket
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import family_of, processor_s
from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.ports import HOST, free_ports
from tests.soak import samples
from tests.soak.household import Account, Device, Household, difference, on_device
from tests.soak.relay import Relay
from tests.soak.samples import Sample

_INSIDE = Path(__file__).parent / "inside"
_SETTLE_S = 300.0
_REST_S = 30.0
_QUIET_S = 0.5
_RETENTION = "7d"


@dataclass(frozen=True, slots=True)
class Options:
    """messages: how many arrive in a round; an account keeps about three times what it gets in one."""

    seed: int
    messages: int
    directory: Path
    rounds: int | None = None
    minutes: float | None = None
    traces: bool = False


class Life:
    """Live round by round; `samples` are the daemon at rest after each."""

    def __init__(self, options: Options) -> None:
        self.samples: list[Sample] = []
        self.troubles: list[str] = []
        self._options = options
        self._chance = random.Random(options.seed)
        self._home = options.directory
        self._server = Dovecot(self._home / "server", tls=False)
        self._household = Household(self._server, options.seed)
        self._imap, self._pop3 = Relay(self._server.imap_port), Relay(self._server.pop3_port)
        self._listen = free_ports(1)[0]
        self.accounts = {
            "work": Account("work", "ana"),
            "home": Account("home", "bo", delete="expunge"),
            "isp": Account("isp", "chen", type="pop3"),
        }
        self.devices = {
            "laptop": Device("laptop", self._home / "laptop"),
            "phone": Device("phone", self._home / "phone", layout="fs"),
            "usb": Device("usb", self._home / "usb"),
        }
        self._away: set[str] = set()
        """Accounts and devices that the configuration does not have at the moment."""
        self._guests: tuple[str, ...] = ()
        self._keys: dict[str, dict[str, object]] = {}
        """Keys of the configuration that are not those from the start, by table."""
        self._passwords = self._home / "password"
        self._counted = self._home / "counted.json"
        self._bag: list[str] = []
        self._settled: dict[str, frozenset[str]] = {}
        """By account, what all devices had at the end of the round before."""
        self._touched: dict[str, set[str]] = {}
        """By account, what somebody has changed in this round; nobody else does."""
        environment = {"PYTHONPATH": str(_INSIDE), "SOAK_COUNTED": str(self._counted)}
        if options.traces:
            environment["PYTHONTRACEMALLOC"] = "1"
        self._passwords.write_text(self._server.password)
        self._passwords.chmod(0o600)
        self._daemon = Daemon(self._home / "syncd", self._tables(), environment=environment)

    def run(self) -> None:
        """Live all rounds; RuntimeError when anything is lost, doubled or not synced."""
        began = time.monotonic()
        options = self._options
        with ExitStack() as stack:
            for one in (self._server, self._imap, self._pop3, self._daemon):
                stack.enter_context(one)
            self._deliver()
            self._settle()
            self._compare()
            number = 0
            while options.rounds is None or number < options.rounds:
                if options.minutes is not None and time.monotonic() - began > options.minutes * 60:
                    break
                number += 1
                try:
                    self._live(number)
                except BaseException:
                    _tell(f"in round {number}: {', '.join(self.troubles[-2:])}\n{self._daemon.log()[-3000:]}")
                    raise

    def _live(self, number: int) -> None:
        troubles = self._draw(), self._draw()
        self.troubles += troubles
        self._deliver()
        first, second = (getattr(self, f"_{name}") for name in troubles)
        first()
        self._change()
        second()
        self._settle()
        self._daemon_signal(signal.SIGUSR1)
        self._settle()
        self._compare()
        self._come_to_rest()
        self.samples.append(self._sample(number))
        _tell(f"round {number} ({', '.join(troubles)}): {_told(self.samples[-1])}")

    def _deliver(self) -> None:
        for account in self.accounts.values():
            self._household.deliver(account, self._options.messages // len(self.accounts))

    def _change(self) -> None:
        """Let web mail and programs on devices change what is there, as much of it deleted as has arrived."""
        share = self._options.messages // len(self.accounts)
        devices = [one for one in self.devices.values() if one.name not in self._away]
        for account in self.accounts.values():
            touched = self._touched.setdefault(account.name, set())
            too_many = max(0, len(account.held) - 3 * share)
            if account.type == "imap":
                by_web = self._household.chosen(account, share // 2, but=touched)
                touched.update(by_web)
                self._household.change_on_server(account, by_web, gone=min(too_many // 2, len(by_web) * 3 // 4))
                too_many -= too_many // 2
            if account.name in self._away:
                continue
            # NOTE: what has arrived in this round may not be on devices yet.
            new = account.held.keys() - self._settled.get(account.name, frozenset())
            by_devices = self._household.chosen(account, 2 * share, but=touched | new)
            touched.update(by_devices)
            for device, keys in zip(devices, _dealt(by_devices, len(devices)), strict=True):
                gone = min(too_many // len(devices), len(keys) * 3 // 4)
                self._household.change_on_device(device, account, keys, gone=gone)
            touched.add(self._household.write_on_device(self._chance.choice(devices), account))

    # Troubles; each is drawn as often as any other.

    def _restart_server(self) -> None:
        self._server.restart()

    def _kill_server(self) -> None:
        self._server.kill()
        self._hang_up()
        self._server.start()

    def _cut_wires(self) -> None:
        for _ in range(5):
            self._imap.cut()
            self._pop3.cut()
            time.sleep(0.1)

    def _rotate_password(self) -> None:
        self._server.change_password(f"secret{self._chance.randrange(10**6)}")
        self._server.restart()
        self._passwords.write_text(self._server.password)
        self._hang_up()

    def _have_guests(self) -> None:
        """Serve an account and a device that never were there before, remove them, and purge what they left."""
        number = self._chance.randrange(10**6)
        account = Account(f"guest{number}", f"guest{number}", delete="expunge")
        device = Device(f"visit{number}", self._home / f"visit{number}")
        self._household.deliver(account, 10)
        self._guests = (account.name, device.name)
        self._reload()
        self._settle()
        if wrong := difference(on_device(device, account), account):
            raise RuntimeError(f"{device.name} of {account.name} {wrong}")
        self._guests = ()
        self._reload()
        purged = json.dumps({"accounts": [account.name], "devices": [device.name], "is_dry": False}).encode()
        self._request("POST", "/purge", purged)

    def _pause_account(self) -> None:
        """Take an account out of the configuration for a while; what is missing when it comes back is no deletion."""
        self._settle()
        self._away.add("home")
        self._reload()
        self._change()
        self._away.discard("home")
        self._reload()
        self._settle()

    def _pause_device(self) -> None:
        self._settle()
        self._away.add("usb")
        self._reload()
        self._change()
        self._away.discard("usb")
        self._reload()
        self._settle()

    def _edit_keys(self) -> None:
        for level, interval, settle in (("debug", "1m", "100ms"), ("info", "7m", "1s")):
            self._keys = {"daemon": {"log_level": level}, "account": {"poll_interval": interval}}
            self._keys["device"] = {"settle": settle}
            self._configure()
            time.sleep(0.3)

    def _break_config(self) -> None:
        whole = self._daemon.config_file.read_text()
        self._daemon.config_file.write_text(whole + "\n[nonsense]\n")
        self._hang_up()
        wait_until(lambda: self._daemon.status()["config"]["problems"], 20, "the problem of the configuration is told")
        self._daemon.config_file.write_text(whole)
        self._hang_up()
        wait_until(lambda: not self._daemon.status()["config"]["problems"], 20, "the configuration is right again")

    def _hang_up(self) -> None:
        for _ in range(3):
            self._daemon_signal(signal.SIGHUP)
            time.sleep(0.02)

    def _follow_events(self) -> None:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(10)
                client.connect(str(self._daemon.socket))
                client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                client.recv(4096)

    def _ask_much(self) -> None:
        for _ in range(20):
            for target in ("/status", "/health", "/plan", "/holds"):
                self._request("GET", target)
            with urllib.request.urlopen(f"http://{HOST}:{self._listen}/metrics", timeout=30) as answer:
                answer.read()

    def _run_commands(self) -> None:
        for command in (("sync",), ("status",), ("plan",), ("history",), ("holds",), ("health",)):
            self._daemon.syncd(*command)

    def _back_up(self) -> None:
        target = self._home / "backup.db"
        ended = self._daemon.syncd("backup", str(target))
        if ended.returncode != 0:
            raise RuntimeError(ended.stderr)
        target.unlink()

    # The daemon.

    def _draw(self) -> str:
        if not self._bag:
            self._bag = sorted(_KINDS)
            self._chance.shuffle(self._bag)
        return self._bag.pop()

    def _tables(self) -> dict[str, Any]:
        def account(one: Account) -> dict[str, object]:
            imap = {"delete": one.delete} if one.type == "imap" else {}
            return {
                "type": one.type,
                "host": HOST,
                "port": (self._imap if one.type == "imap" else self._pop3).port,
                "tls": "none",
                "username": one.user,
                "password_file": str(self._passwords),
                "poll_interval": "5m",
                **imap,
                **self._keys.get("account", {}),
            }

        names = [name for name in self.accounts if name not in self._away]
        accounts = {name: account(self.accounts[name]) for name in names}
        devices = {
            one.name: {
                "path": str(one.root),
                "layout": one.layout,
                "accounts": names,
                "settle": "200ms",
                "link": one.name != "usb",
                **self._keys.get("device", {}),
            }
            for one in self.devices.values()
            if one.name not in self._away
        }
        if self._guests:
            guest, visit = self._guests
            accounts[guest] = account(Account(guest, guest, delete="expunge"))
            devices[visit] = {"path": str(self._home / visit), "accounts": [guest]}
        return {
            "store": {"retention": _RETENTION},
            "accounts": accounts,
            "devices": devices,
            "guard": {"count": 1_000_000},
            "daemon": {"listen": f"{HOST}:{self._listen}", "log_format": "json", **self._keys.get("daemon", {})},
        }

    def _configure(self) -> None:
        self._daemon.configure(self._tables())

    def _reload(self) -> None:
        self._configure()
        self._request("POST", "/reload")

    def _request(self, method: str, target: str, body: bytes | None = None) -> bytes:
        status, answer = self._daemon.request(method, target, body)
        if status != 200:
            raise RuntimeError(f"{target} was answered with {status}: {answer!r}")
        return answer

    def _daemon_signal(self, number: signal.Signals) -> None:
        os.kill(self._daemon.pid, number)

    def _settle(self) -> None:
        """Sync until there is nothing left to do, however often that fails before."""
        began, report = time.monotonic(), {}
        while time.monotonic() - began < _SETTLE_S:
            try:
                report = json.loads(self._request("POST", "/sync", b"{}"))
            except TimeoutError:
                continue  # it takes longer than we wait for an answer
            if not any(report.values()):
                return
            time.sleep(0.2)
        raise RuntimeError(f"not synced: {report}")

    def _compare(self) -> None:
        for account in self.accounts.values():
            sides = {device.name: on_device(device, account) for device in self.devices.values()}
            if account.type == "imap":
                sides["server"] = self._household.on_server(account)
            for name, found in sides.items():
                if wrong := difference(found, account):
                    raise RuntimeError(f"{name}, {account.name}: {wrong}")
        self._settled = {name: frozenset(one.held) for name, one in self.accounts.items()}
        self._touched.clear()

    def _come_to_rest(self) -> None:
        """Wait until the daemon does nothing: no processor time is used for a while."""
        deadline = time.monotonic() + _REST_S
        before, since = -1.0, time.monotonic()
        while time.monotonic() < deadline:
            now = processor_s(self._daemon.pid)
            if now - before > 0.03:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > _QUIET_S:
                return
            time.sleep(0.05)
        raise RuntimeError("the daemon does not come to rest")

    def _sample(self, number: int) -> Sample:
        pid, store = self._daemon.pid, self._daemon.store
        memory, descriptors = samples.memory_of(pid), len(samples.descriptors_of(pid))
        threads, children = samples.threads_of(pid), len(family_of(pid)) - 1
        counted = samples.count_inside(pid, self._counted)
        wal = store.with_name(f"{store.name}-wal")
        return Sample(
            number,
            self._household.delivered,
            memory,
            descriptors=descriptors,
            threads=threads,
            children=children,
            tasks=counted["tasks"],
            objects=counted["objects"],
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            store_bytes=store.stat().st_size,
            log_bytes=self._daemon.log_file.stat().st_size,
            cpu_s=processor_s(pid),
            counted=counted,
        )


_KINDS = (
    "restart_server",
    "kill_server",
    "cut_wires",
    "rotate_password",
    "have_guests",
    "pause_account",
    "pause_device",
    "edit_keys",
    "break_config",
    "hang_up",
    "follow_events",
    "ask_much",
    "run_commands",
    "back_up",
)


def _tell(text: str) -> None:
    print(text, flush=True)


def _dealt(keys: list[str], hands: int) -> list[list[str]]:
    return [keys[number::hands] for number in range(hands)]


def _told(one: Sample) -> str:
    return (
        f"{one.messages} messages, {one.memory.uss_kib / 1024:.1f} MiB own, {one.descriptors} descriptors, "
        f"{one.threads} threads, {one.children} children, {one.tasks} tasks, {one.objects} objects, "
        f"WAL {one.wal_bytes / 2**20:.1f} MiB, store {one.store_bytes / 2**20:.1f} MiB, {one.cpu_s:.1f} s cpu"
    )
