"""The story of the image: it syncs, is killed, goes on, is reconfigured, stops, and serves; each step is checked."""

import imaplib
import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable

from tests.demo.narrator import Narrator
from tests.demo.waiting import StepFailedError, wait_for
from tests.image.container import Container, image_of
from tests.image.house import USER, House, letter, messages, replace
from tests.servers.certificates import write_certificates
from tests.servers.debian import CHECKOUT
from tests.servers.dovecot import PASSWORD
from tests.servers.ports import HOST, free_ports
from tests.servers.postgres import Postgres

UID = 10001
STOP_MAX_S = 10.0
_PATIENCE_S = 120.0
_LAPTOP = {"path": "/srv/mail/laptop"}
_PHONE = {"path": "/srv/mail/phone", "layout": "fs"}
_LAPTOP_INBOX, _PHONE_INBOX = "/srv/mail/laptop/.work.INBOX", "/srv/mail/phone/work/INBOX"


class Story:
    """Play it in a house; StepFailedError where something is not as it should be."""

    def __init__(self, house: House, narrator: Narrator, *, count: int) -> None:
        self._house = house
        self._narrator = narrator
        self._count = count
        self._config = house.directory(
            "config",
            {"syncd.toml": house.configuration({"laptop": _LAPTOP}), "ca.pem": house.server.ca_file.read_bytes()},
        )
        self._secrets = house.directory("secrets", {"work": f"{PASSWORD}\n"})
        self._state, self._mail = house.volume("state"), house.volume("mail")
        self._syncd = house.container(
            "syncd",
            "syncd",
            {
                "/etc/syncd": str(self._config),
                "/run/secrets": str(self._secrets),
                "/var/lib/syncd": self._state,
                "/srv/mail": self._mail,
            },
        )

    def play(self) -> None:
        """Play all of it, in its order."""
        self._is_what_it_says()
        self._is_killed_in_the_first_sync()
        self._is_confined()
        self._is_killed_at_rest()
        self._gets_another_device_and_is_stopped_meanwhile()
        self._serves_a_replica()
        self._stops_and_has_logged_well()
        self._keeps_its_store_in_postgresql()

    def _is_what_it_says(self) -> None:
        self._narrator.begin("The image says how it is to be run")
        config = image_of(self._house.engine, "syncd")["Config"]
        self._check(config["User"] == f"{UID}:{UID}", f"it runs as user {config['User']}")
        self._check(config["Entrypoint"] == ["/usr/bin/tini", "--", "syncd"], "tini is its entry point")
        self._check(config.get("StopSignal", "SIGTERM") in ("SIGTERM", "15"), "it is stopped by SIGTERM")
        self._check(set(config["Volumes"]) == {"/srv/mail", "/var/lib/syncd"}, "mail and store are volumes")

    def _is_killed_in_the_first_sync(self) -> None:
        self._narrator.begin(f"It is killed in the middle of a first sync of {self._count:,} messages")
        self._house.deliver(0, self._count)
        self._syncd.run()
        self._until("the first messages are there", lambda: _delivered(self._syncd, _LAPTOP_INBOX) > 100)
        self._syncd.kill()
        self._check(self._syncd.state("ExitCode") == "137", "kill -9 ended it")
        stored = self._house.bodies_in_store(self._state)
        self._check(0 < stored < self._count, f"{stored:,} messages were safe in the store")
        before = self._fetched()
        self._syncd.start()
        self._until("the health check is green", self._syncd.is_healthy)
        self._until("everything is synced", lambda: self._is_synced(self._syncd))
        self._check(self._is_complete(self._syncd, _LAPTOP_INBOX), "each message is there, once, octet by octet")
        self._syncd.kill()
        fetched = self._fetched() - before
        self._check(fetched == self._count - stored, f"{fetched:,} were downloaded after it, none of them again")

    def _is_confined(self) -> None:
        self._narrator.begin("It runs without rights")
        self._syncd.start()
        self._until("it is there again", self._syncd.is_healthy)
        facts: dict[str, set[str]] = {}
        for line in self._syncd.shell("cat /proc/[0-9]*/status").splitlines():
            facts.setdefault(line.partition(":")[0], set()).update(line.split()[1:])
        self._check({"tini", "syncd"} <= facts["Name"], "tini and syncd are its processes")
        self._check(facts["Uid"] | facts["Gid"] == {str(UID)}, f"they are user and group {UID}")
        masks = set().union(*(facts[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")))
        self._check({int(mask, 16) for mask in masks} == {0}, "they have no capability")
        self._check(facts["NoNewPrivs"] == {"1"}, "they get no new privileges")
        refused = self._house.engine.attempt("exec", self._syncd.name, "touch", "/opt/syncd/probe")
        self._check(b"Read-only file system" in refused.stderr, "the root is read-only")
        strangers = f"find /srv/mail /var/lib/syncd ! -user {UID} -o ! -group {UID} -o -perm /077 ! -type l"
        self._check(self._syncd.shell(strangers) == "", "mail and store are its own, and nobody else can read them")

    def _is_killed_at_rest(self) -> None:
        self._narrator.begin("It is killed at rest, and mail comes while it is down")
        self._until("everything is synced", lambda: self._is_synced(self._syncd))
        self._syncd.kill()
        before = self._fetched()
        self._house.deliver(self._count, 5)
        self._count += 5
        self._syncd.start()
        self._until("the new mail is there", lambda: _delivered(self._syncd, _LAPTOP_INBOX) == self._count)
        self._until("everything is synced", lambda: self._is_synced(self._syncd))
        self._check(self._is_complete(self._syncd, _LAPTOP_INBOX), "each message is there, once, octet by octet")
        self._syncd.kill()
        self._check(self._fetched() - before == 5, "five were downloaded")
        self._syncd.start()
        self._until("it is there again", self._syncd.is_healthy)

    def _gets_another_device_and_is_stopped_meanwhile(self) -> None:
        self._narrator.begin("Its configuration is edited while it runs, and it is stopped while it delivers")
        self._stop(self._syncd)
        before = self._fetched()
        self._syncd.start()
        self._until("it is there again", self._syncd.is_healthy)
        self._until("everything is synced", lambda: self._is_synced(self._syncd))
        logins = self._house.logins()
        devices = {"laptop": _LAPTOP, "phone": _PHONE}
        replace(self._config / "syncd.toml", self._house.configuration(devices))
        self._until("the new device gets mail", lambda: _delivered(self._syncd, _PHONE_INBOX) > 100)
        self._check(self._house.logins() == logins, "the account was not connected anew for it")
        self._stop(self._syncd)
        self._check(self._fetched() == before, "nothing was downloaded for it")
        self._syncd.start()
        self._until("it is there again", self._syncd.is_healthy)
        self._until("everything is synced", lambda: self._is_synced(self._syncd))
        self._check(self._is_complete(self._syncd, _PHONE_INBOX), "each message is there, once, octet by octet")

    def _serves_a_replica(self) -> None:
        self._narrator.begin("A Dovecot in a container serves a replica, as the profile serve has it")
        tls = self._house.root / "tls"
        tls.mkdir()
        write_certificates(tls)
        files: dict[str, str | bytes] = {"users": f"{USER}:{{PLAIN}}other\n"}
        keys: dict[str, str | bytes] = {
            "tls.crt": (tls / "server.pem").read_bytes(),
            "tls.key": (tls / "server.key").read_bytes(),
        }
        secrets = self._house.directory("dovecot-secrets", files | keys)
        (port,) = free_ports(1)
        server = self._house.container(
            "dovecot",
            "syncd-dovecot",
            {
                "/etc/dovecot/syncd": f"{CHECKOUT / 'deploy' / 'dovecot'}",
                "/run/secrets": str(secrets),
                "/srv/mail": self._mail,
                "/var/lib/dovecot/syncd": self._house.volume("dovecot"),
            },
            *("/usr/sbin/dovecot", "-F", "-o", f"service/imap-login/inet_listener/imaps/port={port}"),
        )
        server.run()
        self._until("it listens", lambda: _accepts(port))
        with imaplib.IMAP4_SSL(
            "localhost", port, ssl_context=ssl.create_default_context(cafile=tls / "ca.pem")
        ) as phone:
            phone.login(USER, "other")
            count = phone.select("INBOX")[1]
            self._check(count == [b"%d" % self._count], f"a program finds {self._count:,} messages")
            self._check(phone.uid("STORE", "1", "+FLAGS", r"(\Flagged)")[0] == "OK", "and flags one")
        self._until("the provider has the flag", lambda: self._flagged_by_provider() == 1)
        processes = server.shell("grep -h ^Uid: /proc/[0-9]*/status").splitlines()
        self._check({line.split()[1] for line in processes} == {str(UID)}, f"all of Dovecot is user {UID}")
        took = server.stop()
        self._check(server.state("ExitCode") == "0", f"it ended with 0, {took:.1f} s after it was asked to")

    def _stops_and_has_logged_well(self) -> None:
        self._narrator.begin("It stops, and has logged well")
        self._until("everything is synced", lambda: self._is_synced(self._syncd))
        self._stop(self._syncd)
        printed, logged = self._syncd.log()
        events = [json.loads(line)["event"] for line in logged.splitlines()]
        self._check(printed == "", "nothing is on standard output")
        self._check(len(events) > 5, f"each of {len(events)} lines on standard error is JSON")
        self._check(events[-1] == "daemon_stopped", "the last one says that it stopped")
        self._check("end_cut_short" not in events, "no end was cut short")
        self._check(PASSWORD not in logged, "none has the password")

    def _keeps_its_store_in_postgresql(self) -> None:
        self._narrator.begin("It keeps its store in a PostgreSQL, as the profile postgres has it")
        with Postgres() as postgres:
            url = postgres.url("syncd")
            secrets = self._house.directory("postgres-secrets", {"work": PASSWORD, "syncd_store__url": f"{url}\n"})
            files: dict[str, str | bytes] = {"ca.pem": self._house.server.ca_file.read_bytes()}
            configuration = self._house.configuration({"laptop": _LAPTOP}, store={"auto_migrate": True})
            config = self._house.directory("postgres-config", {"syncd.toml": configuration} | files)
            syncd = self._house.container(
                "postgres",
                "syncd",
                {
                    "/etc/syncd": str(config),
                    "/run/secrets": str(secrets),
                    "/var/lib/syncd": self._house.volume("postgres-state"),
                    "/srv/mail": self._house.volume("postgres-mail"),
                },
            )
            syncd.run()
            self._until("the first messages are there", lambda: _delivered(syncd, _LAPTOP_INBOX) > 100)
            syncd.kill()
            syncd.start()
            self._until("it is killed, and healthy again", syncd.is_healthy)
            self._until("everything is synced", lambda: self._is_synced(syncd))
            self._check(self._is_complete(syncd, _LAPTOP_INBOX), "each message is there, once, octet by octet")
            self._check(syncd.shell("find /var/lib/syncd -name '*.db'") == "", "there is no store in a file")
            self._stop(syncd)

    def _is_complete(self, container: Container, directory: str) -> bool:
        return messages(container, directory) == Counter(map(letter, range(self._count)))

    def _is_synced(self, container: Container) -> bool:
        # NOTE: only once the daemon answers; before it has the store, this command would take it for itself.
        return self._house.engine.attempt("exec", container.name, "syncd", "sync").returncode == 0

    def _flagged_by_provider(self) -> int:
        with self._house.server.imap(USER) as client:
            client.select("INBOX", readonly=True)
            return len(client.search(None, "FLAGGED")[1][0].split())

    def _fetched(self) -> int:
        """Return how many bodies the server has given out, once no session with it goes on."""
        counted: list[int] = []

        def is_known() -> bool:
            count = self._house.fetched_bodies()
            counted.extend(() if count is None else (count,))
            return bool(counted)

        wait_for("the server counts", {"server": is_known}, patience_s=_PATIENCE_S, since=time.monotonic())
        return counted[-1]

    def _stop(self, container: Container) -> None:
        took = container.stop()
        code = container.state("ExitCode")
        self._check(code == "0" and took < STOP_MAX_S, f"it ended with {code}, {took:.1f} s after it was asked to")

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something is so, and say how long that took."""
        claim = {"container": holds}
        since = time.monotonic()
        took = wait_for(what, claim, patience_s=_PATIENCE_S, since=since, every_s=0.05)
        self._narrator.took(what, took["container"])

    def _check(self, is_so: bool, what: str) -> None:
        if not is_so:
            raise StepFailedError(f"not so: {what}")
        self._narrator.fact(what)


def _delivered(container: Container, directory: str) -> int:
    """Count the message files below a Maildir; none while the container or the directory is not there."""
    listed = container.engine.attempt(
        "exec", container.name, "find", f"{directory}/new", f"{directory}/cur", "-type", "f"
    )
    return len(listed.stdout.splitlines())


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
