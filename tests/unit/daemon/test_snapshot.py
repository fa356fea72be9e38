"""The status that is put together from the store and from what tasks know of themselves."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from syncd.config.model import Config
from syncd.daemon.people.reading import Counts, StatusReader
from syncd.daemon.status.attention import findings_of
from syncd.daemon.status.config_status import ConfigStatus
from syncd.daemon.status.remedies import account_remedy
from syncd.daemon.status.snapshot import brief, status_of
from syncd.daemon.status.status import DaemonStatus, NewsStatus, Progress, Status
from syncd.errors import Cause, LoginRefusedError, StoreError, Temper, TooSlowError, TrustError, text_of
from syncd.store.engine.database import Database
from syncd.store.people.report import AccountReport, DeviceReport, MailboxReport, ReplicaReport, StoreReport
from syncd.store.people.trouble_report import TroubleReport
from syncd.store.trees.accounts import ensure_account
from syncd.sync.activity import Activities, Activity, Link
from syncd.sync.wakes import Wake
from syncd.sync.wanted import Wanted
from syncd.values import replace

NOW = 1_700_000_000.0
LINK = Link(NOW - 60, "TLSv1.3", "qresync", has_push=True)
DAEMON = DaemonStatus(1, "1.0", NOW - 60)


def config(**tables: Any) -> Config:
    """Return a configuration of an IMAP and a POP3 account, and a device."""
    login = {"username": "ana", "password": "secret"}
    return Config.model_validate(
        {
            "store": {"url": "sqlite:////tmp/none.db"},
            "daemon": {"socket": "/tmp/none.sock"},
            "accounts": {
                "work": {"type": "imap", "host": "imap.example.org", **login},
                "isp": {"type": "pop3", "host": "::1", **login},
            },
            "devices": {"laptop": {"path": "/srv/laptop"}},
            **tables,
        }
    )


def mailbox(mailbox_id: int, name: str, **values: Any) -> MailboxReport:
    """Return a mailbox of work that is all in the store."""
    plain = MailboxReport(mailbox_id, 1, name, True, False, 100, 100, None, 1000, 1000, 0, 1, True)
    return replace(plain, **values)


def report(*mailboxes: MailboxReport, replicas: tuple[ReplicaReport, ...] = (), state: str = "active") -> StoreReport:
    """Return what a store says that has been synced before."""
    return StoreReport(
        accounts=(
            AccountReport(1, "work", "imap", NOW - 300, None, None, None, 0),
            AccountReport(2, "isp", "pop3", *[None] * 4, 0),
        ),
        mailboxes=mailboxes,
        devices=(DeviceReport(1, "laptop", state, NOW - 7200, None, "maildir++"),),
        replicas=replicas,
        troubles=(),
        holds=(),
    )


def replica(mailbox_id: int, **values: Any) -> ReplicaReport:
    """Return a replica of laptop that has all of its mailbox."""
    plain = ReplicaReport(1, mailbox_id, 100, 0, new=0, missing=0, deleted=0, edited=0, flagged=0, delivered_bytes=1000)
    return replace(plain, **values)


def seen(
    found: StoreReport,
    account: Activity | None = None,
    device: Activity | None = None,
    *,
    wanted: dict[tuple[int, str | None], Wanted] | None = None,
) -> Status:
    """Return the status where these are the activities."""
    running = Activities({"work": account or Activity()}, {"laptop": device or Activity()})
    return status_of(config(), found, now=NOW, wanted=wanted, daemon=DAEMON, activities=running)


def test_news_of_an_idling_account_are_pushed_for_one_mailbox_and_polled_for_the_others() -> None:
    """And it says when the next poll is."""
    found = report(mailbox(1, "INBOX"), mailbox(2, "Old"), mailbox(3, "Older"))
    activity = Activity(link=LINK, watched="INBOX", polls_at=NOW + 60, rests_s=60.0)

    work, isp = seen(found, activity).accounts

    assert work.news == NewsStatus(True, "INBOX", 2, "one_mailbox_per_connection", 300.0, NOW + 60)
    assert isp.news == NewsStatus(False, None, 1, "pop3", 120.0, None)
    assert (work.server, isp.server) == ("imap.example.org:993", "[::1]:995")


def test_account_that_hears_of_all_mailboxes_polls_none_for_news() -> None:
    found = report(mailbox(1, "INBOX"), mailbox(2, "Old"))
    activity = Activity(link=LINK, watched="INBOX", heard=frozenset({1, 2}), polls_at=NOW + 60, rests_s=60.0)

    work, _ = seen(found, activity).accounts

    assert work.news == NewsStatus(True, "INBOX", 0, None, 300.0, NOW + 60, all_pushed=True)


def test_mailboxes_of_which_a_server_does_not_tell_are_polled() -> None:
    found = report(mailbox(1, "INBOX"), mailbox(2, "Old"), mailbox(3, "Public/Team"))
    activity = Activity(link=LINK, watched="INBOX", heard=frozenset({1, 2}), polls_at=NOW, rests_s=60.0)

    work, _ = seen(found, activity).accounts

    assert work.news == NewsStatus(True, "INBOX", 1, "not_told", 300.0, NOW)


@pytest.mark.parametrize(
    ("keep", "told"),
    [("14d", (3, NOW - 100 + 14 * 86400)), ("forever", (3, None)), ("0d", (0, None)), (None, (0, None))],
)
def test_account_says_how_many_messages_stay_and_when_the_oldest_goes(
    keep: str | None, told: tuple[int, float | None]
) -> None:
    """As the configuration is now, whatever it was when they were retrieved; what is to go at once does not stay."""
    found = report()
    found = replace(found, accounts=(found.accounts[0], replace(found.accounts[1], kept=3, kept_since=NOW - 100)))
    isp = {"type": "pop3", "host": "::1", "username": "ana", "password": "x"} | ({"keep": keep} if keep else {})

    (status,) = status_of(config(accounts={"isp": isp}), found, now=NOW, daemon=DAEMON).accounts

    assert (status.kept, status.kept_until_at) == told


@pytest.mark.parametrize(
    ("link", "mailboxes", "why"),
    [
        (replace(LINK, has_push=False), 2, "no_idle"),
        (LINK, 2, "one_mailbox_per_connection"),
        (LINK, 1, None),
        (None, 2, None),
    ],
)
def test_why_mailboxes_are_polled_follows_from_the_server(link: Link | None, mailboxes: int, why: str | None) -> None:
    """While it is not connected nobody knows."""
    names = ("INBOX", "Old")[:mailboxes]
    found = report(*(mailbox(number, name) for number, name in enumerate(names)))

    assert seen(found, Activity(link=link, watched="INBOX")).accounts[0].news.why_polled == why


def test_mailbox_says_by_which_rung_its_changes_are_learnt() -> None:
    """That of the server, or a lower one where it contradicted itself or keeps no mod-sequences."""
    found = report(mailbox(1, "INBOX"), mailbox(2, "Lied"), mailbox(3, "None", has_modseq=False))

    whole = seen(found, Activity(link=LINK, demoted={2: "condstore"}))

    rungs = {one.name: one.changes_by for one in whole.accounts[0].mailboxes}
    assert rungs == {"INBOX": "qresync", "Lied": "condstore", "None": "listing"}
    assert [one.name for one in brief(whole).accounts[0].mailboxes] == ["Lied", "None"]
    assert {one.changes_by for one in seen(found).accounts[0].mailboxes} == {None}


def test_progress_of_an_account_counts_what_devices_take_only() -> None:
    """It comes to its end though a mailbox has more."""
    found = report(mailbox(1, "INBOX", messages=1000, fetched=200, size_bytes=10_000, fetched_bytes=2000))
    fetching = Activity("fetching INBOX")
    fetching.pace.begin(NOW - 10)
    fetching.pace.add(NOW, 100, 1000)

    some = seen(found, fetching, wanted={(1, None): Wanted(50, 400)}).accounts[0].progress
    none = seen(found, fetching).accounts[0].progress

    assert some == Progress(200, 250, 2000, 2400, 10.0, 100.0, 5.0)
    assert none == Progress(200, 200, 2000, 2000, None, None, 0.0)


def test_progress_of_a_maildrop_counts_what_it_has_to_give() -> None:
    """From when its session began."""
    draining = Activity("draining the maildrop")
    draining.expect(10, 1000)
    draining.took(NOW, 4, 600)
    running = Activities({"isp": draining})

    isp = status_of(config(), report(), now=NOW, daemon=DAEMON, activities=running).accounts[1]

    assert (isp.progress.messages_done, isp.progress.messages_total, isp.progress.bytes_total) == (0, 6, 400)


def test_progress_of_a_device_is_that_of_what_comes_and_is_not_done_before_its_accounts_are() -> None:
    """What is not fetched yet comes as well; flags that change are no messages to come."""
    found = report(
        mailbox(1, "INBOX", messages=1000, size_bytes=10_000, fetched=500, fetched_bytes=5000),
        mailbox(2, "Old"),
        replicas=(replica(1, delivered=400, delivered_bytes=4000, waiting=100), replica(2, waiting=30)),
    )
    writing, fetching = Activity("delivering work/INBOX"), Activity("fetching INBOX")
    for activity, messages in ((writing, 1000), (fetching, 100)):
        activity.pace.begin(NOW - 10)
        activity.pace.add(NOW, messages)
    wanted = {(1, None): Wanted(500, 5000), (1, "laptop"): Wanted(500, 5000)}

    laptop = seen(found, fetching, writing, wanted=wanted).devices[0]

    assert laptop.progress == Progress(500, 1100, 5000, 11_000, 100.0, None, 50.0)
    assert laptop.waiting == 130


def test_device_is_behind_since_it_was_to_be_woken() -> None:
    """Nobody else knows when; nothing that waits is no lag."""
    behind, at_rest = (report(mailbox(1, "INBOX"), replicas=(replica(1, waiting=number),)) for number in (3, 0))
    wake = Wake()
    wake.since = NOW - 40

    assert seen(behind, device=Activity(wake=wake)).devices[0].lag_s == 40.0
    assert seen(at_rest, device=Activity(wake=wake)).devices[0].lag_s == 0.0
    assert status_of(config(), behind, now=NOW).devices[0].lag_s == 7200.0


def test_wake_remembers_the_first_of_those_that_were_not_answered() -> None:
    """What comes while it is answered is the next one."""
    wake = Wake()
    wake.set()
    first = wake.since
    wake.clear()
    wake.set()
    wake.clear()
    assert wake.since == first
    wake.answered()
    assert wake.since is None
    wake.set()
    wake.answered()
    assert wake.since is not None


def test_changes_of_a_device_that_go_to_servers_are_counted_together() -> None:
    """Whatever they are."""
    mine = replica(1, new=1, missing=2, deleted=3, edited=4, flagged=5)

    assert seen(report(mailbox(1, "INBOX"), replicas=(mine,))).devices[0].unsynced == 15


def test_findings_put_first_what_only_a_person_can_end() -> None:
    """And a daemon that does not run before anything else."""
    found = report(state="away")
    activity = Activity(error="no route", cause=Cause.UNREACHABLE, failing_since=NOW - 5)
    running = Activities({"work": activity, "isp": Activity(error="no", cause=Cause.LOGIN_REFUSED)}, {})
    problems = ConfigStatus(NOW, problems=("3: x",), since_at=NOW - 9, at_restart=("store.url",))

    up = status_of(config(), found, now=NOW, daemon=DAEMON, activities=running, config_state=problems)
    down = status_of(config(), found, now=NOW)

    assert [(one.kind, one.name, one.needs_person) for one in up.findings] == [
        ("account_failing", "isp", True),
        ("device_away", "laptop", True),
        ("config_refused", None, True),
        ("restart_needed", None, True),
        ("account_failing", "work", False),
    ]
    assert up.findings[-1].since_at == NOW - 5
    assert "[accounts.isp]" in (up.findings[0].remedy or "")
    assert [one.kind for one in down.findings] == ["daemon_down", "device_away"]
    assert findings_of(replace(up, findings=())) == up.findings


def test_counts_are_read_again_when_something_was_written_but_not_all_the_time() -> None:
    """Who watches costs a twentieth of the time at most; who asks once is told how it is now."""
    mine = config()
    counts = Counts(report(), {}, mine, counted_at=NOW, writes=5, read_at=100.0, cost_s=0.1)

    assert counts.are_fresh(mine, writes=5, now=130.0, is_watched=False)
    assert not counts.are_fresh(mine, writes=5, now=161.0, is_watched=True)
    assert not counts.are_fresh(mine, writes=6, now=101.0, is_watched=False)
    assert counts.are_fresh(mine, writes=6, now=101.9, is_watched=True)
    assert not counts.are_fresh(mine, writes=6, now=102.1, is_watched=True)
    assert not counts.are_fresh(config(), writes=5, now=100.1, is_watched=True)
    assert not replace(counts, writes=None).are_fresh(mine, writes=None, now=100.1, is_watched=False)
    assert not replace(counts, cost_s=60.0).are_fresh(mine, writes=6, now=111.0, is_watched=True)


async def test_status_that_is_asked_for_again_asks_the_store_nothing_where_nothing_was_written(tmp_path: Path) -> None:
    """Whoever watches a house at rest costs no statement; what is written is counted by the next who asks."""
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(statement)

    with Database.open(f"sqlite:///{tmp_path}/syncd.db") as db:
        reader, mine = StatusReader(db), config()
        read = partial(
            reader.read,
            mine,
            now=NOW,
            daemon=DAEMON,
            activities=Activities(),
            config_state=ConfigStatus(NOW),
            is_watched=False,
        )
        await read()
        event.listen(Engine, "before_cursor_execute", note)
        try:
            await read()
            at_rest = list(asked)
            await db.write(lambda conn: ensure_account(conn, "work", kind="imap", identity="x"))
            asked.clear()
            await read()
        finally:
            event.remove(Engine, "before_cursor_execute", note)

    assert at_rest == []
    assert asked


def test_what_waiting_does_not_help_against_needs_a_person_whatever_its_cause() -> None:
    """An account that has another username now is held, though its cause may end by itself elsewhere."""
    held, slow = Activity(), Activity()
    held.now("waiting to try again", NOW - 5)
    slow.now("waiting to try again", NOW - 3601)
    held.failed(StoreError("another user", temper=Temper.GIVE_UP), "another user; waiting does not help", retry_at=NOW)
    slow.failed(TooSlowError("no answer"), "no answer", retry_at=NOW + 5)

    found = status_of(
        config(), report(), now=NOW, daemon=DAEMON, activities=Activities({"work": held, "isp": slow}, {})
    )
    soon = status_of(config(), report(), now=NOW - 10, daemon=DAEMON, activities=Activities({"isp": slow}, {}))

    assert found.accounts[0].cause == Cause.OTHER
    assert found.accounts[0].is_lasting
    assert "by itself" not in (found.accounts[0].remedy or "")
    assert [(one.name, one.needs_person) for one in found.findings] == [("work", True), ("isp", True)]
    assert [(one.name, one.needs_person) for one in soon.findings] == [("isp", False)]


@pytest.mark.parametrize(
    ("error", "cause", "needs_person", "remedy"),
    [
        (
            text_of(LoginRefusedError("login refused by the server: no")),
            "login_refused",
            True,
            account_remedy(Cause.LOGIN_REFUSED, "work", config().accounts["work"]),
        ),
        (
            text_of(TrustError("the server's certificate is not trusted: expired")),
            "untrusted",
            True,
            account_remedy(Cause.UNTRUSTED, "work", config().accounts["work"]),
        ),
        (
            "the server cannot be reached: no route to it",
            "unreachable",
            False,
            "check this machine's network, and host, port and tls of [accounts.work]; then: syncd sync work",
        ),
        ("the server did not answer in 60 s", "too_slow", False, "syncd sync work tries it now"),
        ("of a store as it was", None, False, "syncd sync work tries it now"),
        ("of a later syncd", "gremlins", False, "syncd sync work tries it now"),
        (
            "another user; waiting does not help",
            None,
            True,
            "see what it says, and [accounts.work]; then: syncd sync work",
        ),
    ],
)
def test_without_a_daemon_an_error_of_the_store_has_a_remedy_and_nothing_is_tried_by_itself(
    error: str, cause: str | None, needs_person: bool, remedy: str
) -> None:
    """It is that which a daemon told, but that nobody pretends to try."""
    stored = AccountReport(1, "work", "imap", NOW - 300, NOW - 200, error, cause, 3)

    seen = status_of(config(), replace(report(state="away"), accounts=(stored,)), now=NOW)

    (found,) = (one for one in seen.findings if one.name == "work")
    assert (found.needs_person, found.remedy) == (needs_person, remedy)
    assert not [one for one in seen.findings if "by itself" in (one.remedy or "")]


def test_without_a_daemon_an_error_of_a_device_has_its_remedy() -> None:
    """The store remembers what kind of thing it was."""
    stored = DeviceReport(1, "laptop", "active", NOW - 7200, "a file cannot be written", "maildir++", "disk_full")

    seen = status_of(config(), replace(report(), devices=(stored,)), now=NOW)

    (found,) = (one for one in seen.findings if one.name == "laptop")
    assert found.remedy == f"make room on the disk of {config().devices['laptop'].path}; then: syncd sync"


def test_what_is_set_aside_of_an_account_that_is_not_configured_needs_nobody() -> None:
    """It is paused like its mail: a sync of it, which was the remedy, is refused; so is one of a former device."""
    there = report(mailbox(1, "INBOX"))
    other = replace(mailbox(2, "INBOX"), account_id=3)
    troubles = (
        TroubleReport("message 1", 2, None, 7, "body not fetched", 5, NOW, None),
        TroubleReport("message 2", 1, 2, 7, "not delivered", 5, NOW, None),
        TroubleReport("message 3", 1, 1, 7, "not delivered", 5, NOW, None),
    )
    former = AccountReport(3, "former", "imap", NOW - 300, None, None, None, 0)
    stored = replace(
        there,
        accounts=(*there.accounts, former),
        devices=(*there.devices, replace(there.devices[0], id=2, name="old")),
        mailboxes=(*there.mailboxes, other),
        troubles=troubles,
    )

    found = seen(stored)

    assert [(one.account, one.device) for one in found.troubles] == [("work", "laptop")]
    assert [one.name for one in found.findings if one.kind == "set_aside"] == ["work"]
