"""`syncd holds` as a process: what the guard held back is shown, and released, with a daemon and without."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.daemon import Daemon, wait_until
from tests.servers.dovecot import Dovecot
from tests.system.mail import deliver, files, imap_account

MakeDaemon = Callable[..., Daemon]

COUNT, LOST = 60, 35


@pytest.fixture
def held(dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon) -> Daemon:
    """Return a daemon, not running, whose two devices hold 35 removals each since the daemon saw them vanish."""
    deliver(dovecot, mail_user, COUNT)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    with daemon:
        daemon.sync()
        expunge(dovecot, mail_user, LOST)
        ended = daemon.syncd("sync")
    assert (ended.returncode, ended.stdout) == (1, ""), daemon.log()[-3000:]
    assert ended.stderr == f"removals and deletions held until you decide: {2 * LOST}; see syncd holds\n", daemon.log()[
        -3000:
    ]
    return daemon


def test_held_removals_are_shown_with_the_daemon_up_and_down(held: Daemon, tmp_path: Path) -> None:
    """Status and the list name device, mailbox, number and reason, and say how to go on; every file is there."""
    down, text_down = held.syncd("holds", "--json"), held.syncd("holds")
    with held:
        up, text_up, status = held.syncd("holds", "--json"), held.syncd("holds"), held.syncd("status")

    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [COUNT, COUNT]
    assert json.loads(up.stdout) == json.loads(down.stdout)
    listed = json.loads(up.stdout)["holds"]
    assert [(one["device"], one["account"], one["mailbox"], one["count"], one["state"]) for one in listed] == [
        (device, "work", "INBOX", LOST, "held") for device in [one["device"] for one in listed]
    ]
    assert {one["device"] for one in listed} == {"laptop", "phone"}
    assert listed == held.status()["holds"]
    for text in (text_up.stdout, text_down.stdout):
        assert "work/INBOX: 35 removals on laptop, held for" in text
        assert "more messages were deleted within a short time than the guard allows" in text
        assert "syncd holds release ID" in text
    assert "things need you" in status.stdout
    assert f"syncd holds release {listed[0]['id']}" in status.stdout
    assert "work/INBOX" in status.stdout


def test_what_would_happen_is_shown_line_by_line(held: Daemon) -> None:
    """One line for each message, the same with the daemon up and down; a number that is none is said to be so."""
    hold = holds(held)["laptop"]

    down = held.syncd("holds", "show", str(hold))
    with held:
        up, as_json = held.syncd("holds", "show", str(hold)), held.syncd("holds", "show", str(hold), "--json")
        wrong = held.syncd("holds", "show", "999")

    lines = up.stdout.splitlines()[1:]
    assert lines == down.stdout.splitlines()[1:]
    assert len(lines) == LOST
    assert all(line.startswith("laptop: work/INBOX: remove file of message ") for line in lines)
    assert len(json.loads(as_json.stdout)["effects"]) == LOST
    assert (wrong.returncode, wrong.stderr) == (1, "syncd: there is no hold 999 (any more); syncd holds lists them\n")


def test_released_hold_happens_at_once_on_its_device_only(held: Daemon, tmp_path: Path) -> None:
    """The daemon does it without being asked to sync; the other device keeps its files and its hold."""
    with held:
        numbers = holds(held)
        ended = held.syncd("holds", "release", str(numbers["phone"]))
        wait_until(lambda: len(inbox(tmp_path, "phone")) == COUNT - LOST, 20, "the phone follows")
        wait_until(lambda: len(holds(held)) == 1, 20, "the hold is over")

        assert (ended.returncode, ended.stdout) == (
            0,
            f"released hold {numbers['phone']}: 35 removals on phone in work/INBOX\n",
        )
        assert holds(held) == {"laptop": numbers["laptop"]}
        assert len(inbox(tmp_path, "laptop")) == COUNT
        again = held.syncd("holds", "release", str(numbers["phone"]))
        assert again.returncode == 1
        assert held.syncd("sync").returncode == 1


def test_discarded_removals_are_put_back_on_the_server(
    held: Daemon, dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    """By the files of the devices, once, and each device keeps its own; the hold of the other device ends with it."""
    with held:
        numbers = holds(held)
        ended = held.syncd("holds", "discard", str(numbers["phone"]))
        wait_until(lambda: count_on_server(dovecot, mail_user) == COUNT, 30, "the server has them again")
        held.sync()

        assert ended.stdout == f"discarded hold {numbers['phone']}: 35 removals on phone in work/INBOX\n"
        assert holds(held) == {}
        assert held.syncd("sync").returncode == 0
    assert count_on_server(dovecot, mail_user) == COUNT
    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [COUNT, COUNT]


def test_discarded_deletions_are_delivered_again(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """The device has its files again, and nobody else missed anything; also without a daemon."""
    deliver(dovecot, mail_user, COUNT)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    with daemon:
        daemon.sync()
        for path in inbox(tmp_path, "laptop")[:LOST]:
            path.unlink()
        assert daemon.syncd("sync").returncode == 1
    assert daemon.syncd("holds", "discard", "--all").returncode == 0
    with daemon:
        daemon.sync()

        assert daemon.syncd("holds").stdout == "nothing is held\n"
    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [COUNT, COUNT]
    assert count_on_server(dovecot, mail_user) == COUNT


def test_release_with_the_daemon_down_happens_with_the_next_sync(held: Daemon, tmp_path: Path) -> None:
    """It is recorded, shown as released, and done by whoever syncs next."""
    ended = held.syncd("holds", "release", "--all")
    status = held.status()

    assert ended.returncode == 0
    assert ended.stdout.endswith("the daemon is not running: it happens with the next syncd sync or syncd run\n")
    assert [one["state"] for one in status["holds"]] == ["released", "released"]
    assert "released, waiting for the next round" in held.syncd("status").stdout
    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [COUNT, COUNT]
    held.sync()
    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [COUNT - LOST, COUNT - LOST]
    assert held.syncd("holds").stdout == "nothing is held\n"


def test_deletions_by_a_device_are_shown_and_released_once_for_all_devices(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Status, plan and the list tell that the device did it; a release reaches the server and the other device."""
    deliver(dovecot, mail_user, COUNT)
    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        daemon.sync()
        for path in inbox(tmp_path, "laptop")[:LOST]:
            path.unlink()
        ended = daemon.syncd("sync")

        assert ended.stderr == f"removals and deletions held until you decide: {LOST}; see syncd holds\n"
        [hold] = daemon.status()["holds"]
        assert (hold["scope"], hold["device"], hold["count"]) == ("by_device", "laptop", LOST)
        number = str(hold["id"])
        assert f"hold {number}: work/INBOX: 35 deletions by laptop, held for" in daemon.syncd("holds").stdout
        assert "held: work/INBOX: 35 deletions by laptop; syncd holds show" in daemon.syncd("plan").stdout
        lines = daemon.syncd("holds", "show", number).stdout.splitlines()[1:]
        assert len(lines) == LOST
        assert all(
            line.startswith("laptop: work/INBOX: move message ") and line.endswith(" to Trash") for line in lines
        )
        assert len(inbox(tmp_path, "phone")) == COUNT

        released = daemon.syncd("holds", "release", number)
        assert released.stdout == f"released hold {number}: 35 deletions by laptop in work/INBOX\n"
        wait_until(lambda: len(inbox(tmp_path, "phone")) == COUNT - LOST, 20, "the phone follows")
        wait_until(lambda: not daemon.status()["holds"], 20, "the hold is over")
        daemon.sync()
    assert len(files(tmp_path / "phone", "work.Trash")) == LOST


def test_deletions_by_all_devices_together_are_shown_and_released(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Two devices that each delete twenty are forty; what is too much is the account's, and no device's."""
    deliver(dovecot, mail_user, COUNT)
    with make_daemon({"work": imap_account(dovecot, mail_user)}) as daemon:
        daemon.sync()
        laptop, phone = (sorted(inbox(tmp_path, name), key=Path.read_bytes) for name in ("laptop", "phone"))
        for path in laptop[:20] + phone[20:40]:
            path.unlink()
        ended = daemon.syncd("sync")

        assert ended.returncode == 1
        [hold] = daemon.status()["holds"]
        number, count = str(hold["id"]), hold["count"]
        assert (hold["scope"], hold["device"], hold["mailbox"]) == ("account", None, "INBOX")
        assert 15 <= count <= 40
        what = f"{count} deletions by all devices together"
        assert f"hold {number}: work/INBOX: {what}, held for" in daemon.syncd("holds").stdout
        assert what in daemon.syncd("status").stdout
        lines = daemon.syncd("holds", "show", number).stdout.splitlines()[1:]
        assert len(lines) == count
        assert all(line.startswith("work/INBOX: move message ") and line.endswith(" to Trash") for line in lines)

        released = daemon.syncd("holds", "release", number)
        assert released.stdout == f"released hold {number}: {what} in work/INBOX\n"
        wait_until(lambda: not daemon.status()["holds"], 20, "the hold is over")
        daemon.sync()
    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [COUNT - 40] * 2
    assert len(files(tmp_path / "phone", "work.Trash")) == 40


def test_what_a_server_lost_by_going_back_is_shown_with_its_reason(
    make_dovecot: Callable[..., Dovecot], mail_user: str, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """A backup from before the last message: one removal for each device, held until somebody decides."""
    server = make_dovecot()
    deliver(server, mail_user, 5)
    server.stop()
    server.save_mail(mail_user, tmp_path / "backup")
    server.start()
    deliver(server, mail_user, 1)
    daemon = make_daemon({"work": imap_account(server, mail_user)})
    daemon.sync()
    server.stop()
    server.restore_mail(mail_user, tmp_path / "backup")
    server.start()

    ended = daemon.syncd("sync")

    assert (ended.returncode, ended.stderr) == (
        1,
        "removals and deletions held until you decide: 2; see syncd holds\n",
    )
    shown = daemon.syncd("holds").stdout
    assert "work/INBOX: 1 removal on laptop, held for" in shown
    assert "the server went back to an older state, or made the mailbox anew, without them" in shown
    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [6, 6]
    assert daemon.syncd("sync").returncode == 1

    daemon.syncd("holds", "release", str(holds(daemon)["laptop"]))
    daemon.syncd("sync")
    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [5, 6]


def test_hold_dissolves_when_the_limit_is_raised(
    held: Daemon, dovecot: Dovecot, tmp_path: Path, config_of: Callable[..., dict[str, object]]
) -> None:
    """A restart with a guard that allows as much needs nobody's word."""
    held.configure(config_of(guard={"count": 40}))

    with held:
        held.sync()

    assert [len(inbox(tmp_path, device)) for device in ("laptop", "phone")] == [COUNT - LOST, COUNT - LOST]
    assert holds(held) == {}


def test_configured_limit_is_the_one_that_counts(
    dovecot: Dovecot, mail_user: str, make_daemon: MakeDaemon, config_of: Callable[..., dict[str, object]]
) -> None:
    """A person who wants to be asked sooner is asked sooner."""
    deliver(dovecot, mail_user, 10)
    daemon = make_daemon({"work": imap_account(dovecot, mail_user)})
    daemon.configure(config_of(guard={"count": 2, "share": 0.1}))
    daemon.sync()
    expunge(dovecot, mail_user, 3)

    ended = daemon.syncd("sync")

    assert ended.returncode == 1
    assert set(holds(daemon)) == {"laptop", "phone"}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"ids": []}', b'{"ids": ["x"]}', b'{"ids": 3}', b"[1]", b'{"ids": [1], "is_all": true}']
)
def test_daemon_refuses_a_release_that_names_nothing(make_daemon: MakeDaemon, body: bytes) -> None:
    """Nothing is released by a request that is not understood."""
    with make_daemon({}) as daemon:
        status, answer = daemon.request("POST", "/holds/release", body)

    assert status == 400
    assert "holds" in json.loads(answer)["error"]


def test_slips_of_usage(make_daemon: MakeDaemon) -> None:
    """Neither a number nor --all, or both, is exit code 2; without a store nothing is made."""
    daemon = make_daemon({})

    for arguments in (("release",), ("release", "1", "--all"), ("release", "x"), ("discard",)):
        assert daemon.syncd("holds", *arguments).returncode == 2, arguments
    ended = daemon.syncd("holds", "release", "1")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"syncd: there is no store at {daemon.store}: syncd has not run yet; ")
    assert not daemon.store.exists()


@pytest.fixture
def config_of(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Return a function that gives the configuration of `held` with more tables."""

    def config(**tables: object) -> dict[str, object]:
        roots = {device: {"path": str(tmp_path / device)} for device in ("laptop", "phone")}
        return {"accounts": {"work": imap_account(dovecot, mail_user)}, "devices": roots, **tables}

    return config


def expunge(server: Dovecot, user: str, count: int) -> None:
    """Delete the oldest messages of INBOX for good, as another program does."""
    with server.imap(user) as client:
        client.select("INBOX")
        client.store(f"1:{count}", "+FLAGS.SILENT", "(\\Deleted)")
        client.expunge()


def count_on_server(server: Dovecot, user: str) -> int:
    with server.imap(user) as client:
        _, answer = client.select("INBOX", readonly=True)
        return int(answer[0] or 0)


def holds(daemon: Daemon) -> dict[str, int]:
    """Return the number of each device's hold."""
    return {one["device"]: one["id"] for one in json.loads(daemon.syncd("holds", "--json").stdout)["holds"]}


def inbox(directory: Path, device: str) -> list[Path]:
    """Return the files of a device's INBOX."""
    return files(directory / device, "work.INBOX")
