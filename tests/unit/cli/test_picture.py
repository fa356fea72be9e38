"""What `syncd status` shows, as a person reads it: in 80 columns, without colour."""

import io
from textwrap import dedent
from typing import Any

import pytest
from rich.console import Console

from syncd.cli.screen.picture import picture_of
from syncd.cli.screen.view import fitted, show
from syncd.config.accounts import ImapConfig
from syncd.daemon.status.config_status import ConfigStatus
from syncd.daemon.status.remedies import account_remedy, device_remedy
from syncd.daemon.status.status import (
    AccountStatus,
    HoldStatus,
    HookStatus,
    MailboxStatus,
    NewsStatus,
    Progress,
    ReplicaStatus,
    Status,
    TroubleStatus,
)
from syncd.errors import Cause
from syncd.values import replace
from tests.unit.cli.statuses import CONNECTION, NEWS, NOW, account, device, pop3_account, status

HELD = HoldStatus(
    3, "by_device", "laptop", "work", "INBOX", 35, "too_many", "more than the guard allows", "held", NOW - 7200
)


def shown(seen: Status, *, width: int = 80, every_mailbox: bool = False, height: int | None = None) -> str:
    """Return what is printed, with a height on a terminal."""
    stream, is_terminal = io.StringIO(), height is not None
    console = Console(file=stream, width=width, height=height, force_terminal=is_terminal, color_system=None)
    show(picture_of(seen, every_mailbox=every_mailbox), console)
    return stream.getvalue()


def screen(seen: Status, *, height: int) -> list[str]:
    """Return the lines that a terminal of this height shows."""
    console = Console(file=io.StringIO(), width=80, highlight=False, emoji=False)
    return [line.plain for line in fitted(picture_of(seen), console, height=height)]


def replica(mailbox: str = "INBOX", **counts: Any) -> ReplicaStatus:
    """Return a replica that is as its mailbox, but for these counts."""
    values = {"on_server": 3, "delivered": 3, "waiting": 0, "new": 0, "missing": 0, "deleted": 0, "edited": 0}
    return ReplicaStatus("work", mailbox, **(values | counts))


def test_house_that_is_well_says_so_first() -> None:
    """And then how each is connected, how news come, and when it was last in sync."""
    assert shown(status()) == dedent("""\
        All well: 2 accounts, 2 devices; last change 12 s ago

        ACCOUNTS
        work  in sync 12 s ago; 12,345 messages in 12 mailboxes
              imap.example.org:993, TLS 1.3, connected for 2 h; changes by QRESYNC
              news of INBOX by push (IDLE), 11 others by poll every 5 min, next in 1 min
              (IDLE tells of one mailbox)
        isp   in sync 1 min ago; 40 messages in 5 mailboxes
              pop.example.net:995, TLS 1.2, last connected 1 min ago
              news by poll every 2 min, next in 34 s (POP3 has no push)

        DEVICES
        laptop  in sync; 12,385 messages in 17 mailboxes
                /srv/mail/laptop
        phone   in sync; 12,385 messages in 17 mailboxes
                /srv/mail/phone

        the daemon runs for 2 h (pid 77, version 1.0)
        """)


def test_what_stays_in_a_maildrop_is_told_with_the_account() -> None:
    """And until when; of an account that keeps nothing there is nothing to tell."""
    isp = pop3_account(kept=1412, kept_until_at=NOW + 7200)

    assert "\n     1,412 stay on the server; the oldest goes in 2 h\n" in shown(status(accounts=(isp,)))
    assert "stay" not in shown(status(accounts=(pop3_account(),)))


def test_first_sync_says_how_far_how_fast_and_how_long() -> None:
    """By account and by device; one that has all that was fetched says what it waits for."""
    fetching = account(
        doing="fetching INBOX",
        lag_s=None,
        succeeded_at=None,
        news=replace(NEWS, pushed=None, next_poll_at=None),
        progress=Progress(3000, 50_000, 120 * 10**6, 900 * 10**6, 350.4, 14.2 * 10**6, 262.0),
    )
    writing = device(
        doing="delivering work/INBOX",
        progress=Progress(2500, 50_000, 100 * 10**6, 900 * 10**6, 900.0, None, 262.0),
        waiting=500,
        lag_s=1.0,
        replicas=(replica(on_server=50_000, delivered=2500, waiting=500),),
    )
    waiting = device("phone", progress=Progress(3000, 50_000, 0, 0, 5000.0, None, None))

    assert shown(status(accounts=(fetching,), devices=(writing, waiting))) == dedent("""\
        All well, and at work (laptop at 11 %, 4 min left): 1 account, 2 devices; last
        change 12 s ago

        ACCOUNTS
        work  [##..................] 13 % fetching INBOX
              3,000 of 50,000 messages, 120 MB of 900 MB; 350 messages/s, 14 MB/s, 4 min
              left
              imap.example.org:993, TLS 1.3, connected for 2 h; changes by QRESYNC
              news by push (IDLE) once it is at rest, and by poll every 5 min

        DEVICES
        laptop  [##..................] 11 % delivering work/INBOX
                2,500 of 50,000 messages, 100 MB of 900 MB; 900 messages/s, 4 min left
                /srv/mail/laptop
        phone   [#...................] 6 % waiting for what is fetched
                3,000 of 50,000 messages; time left not known yet
                /srv/mail/phone

        the daemon runs for 2 h (pid 77, version 1.0)
        """)


def test_what_needs_a_person_comes_first_each_with_what_to_do() -> None:
    """What ends by itself comes after it, and no error is told twice."""
    refused = account(
        error='login refused by the server: "Authentication failed."; waiting does not help',
        cause="login_refused",
        remedy="check username and password_file of [accounts.work]; then: syncd sync work",
        connection=None,
        failing_since_at=NOW - 7200,
        retry_at=NOW + 840,
        lag_s=7300.0,
    )
    lost = pop3_account(
        error="the server closed the connection",
        cause="connection_lost",
        remedy="nothing to do unless it stays so: it is tried again by itself",
        failing_since_at=NOW - 3,
        retry_at=NOW + 9,
    )
    away = device(
        "phone",
        state="away",
        error="the directory of the device cannot be opened: no such file or directory",
        cause="away",
        remedy="mount /srv/mail/phone or put it back: it goes on by itself",
        failing_since_at=NOW - 10_800,
        settled_at=NOW - 10_900,
        retry_at=NOW + 12,
        waiting=120,
        lag_s=7200.0,
        doing="waiting to try again",
    )
    own = device(unsynced=38, held=35, doing="idle", replicas=(replica(deleted=35, new=1, flagged=2),))
    config = ConfigStatus(NOW - 7200, "/etc/syncd.toml", ("syncd.toml:3: gaurd: unknown key", "x"), NOW - 300)

    seen = status(accounts=(refused, lost), devices=(own, away), holds=(HELD,), config=config)

    assert shown(seen) == dedent("""\
        4 things need you, the most important first:
          account work: login refused by the server: "Authentication failed." (for 2 h,
          again in 14 min)
            -> check username and password_file of [accounts.work]; then: syncd sync
            work
          device phone: the directory of the device cannot be opened: no such file or
          directory (for 3 h)
            -> mount /srv/mail/phone or put it back: it goes on by itself
          35 deletions by laptop in work/INBOX are held: more than the guard allows (for
          2 h)
            -> syncd holds show 3 lists them; meant: syncd holds release 3; not meant:
            syncd holds discard 3 puts them back
          the configuration cannot be used, and the one before runs on (for 5 min)
            syncd.toml:3: gaurd: unknown key
            x
            -> mend it: it is read again by itself
        and this is tried again by itself:
          account isp: the server closed the connection (for 3 s, again in 9 s)
            -> nothing to do unless it stays so: it is tried again by itself

        ACCOUNTS
        work  FAILING for 2 h; tried again in 14 min; last in sync 2 h ago
              imap.example.org:993, TLS; not connected
        isp   FAILING for 3 s; tried again in 9 s; last in sync 1 min ago
              pop.example.net:995, TLS 1.2, last connected 1 min ago
              news by poll every 2 min, next in 34 s (POP3 has no push)

        DEVICES
        laptop  behind; 12,385 messages in 17 mailboxes; 38 to send; 35 held
                /srv/mail/laptop
        phone   AWAY for 3 h; looked for again in 12 s; last written 3 h ago
                12,385 messages in 17 mailboxes; 120 changes to come, the oldest for 2 h
                /srv/mail/phone

        MAILBOXES
        laptop  work/INBOX: 3 of 3; to send: 1 new, 35 deleted, 2 with other flags

        the daemon runs for 2 h (pid 77, version 1.0)
        """)


def test_without_a_daemon_the_store_is_shown_and_how_to_start_one() -> None:
    """That nothing is synced is the first that is said, whatever else is the matter."""
    seen = status(
        daemon=None,
        accounts=(account(doing="not running", connection=None, news=replace(NEWS, pushed=None, next_poll_at=None)),),
        devices=(device(doing="not running", waiting=3, lag_s=60.0),),
        holds=(HELD,),
        store_used_at=NOW - 10_800,
    )

    assert shown(seen) == dedent("""\
        The daemon is not running; this is how things stood when syncd last ran, 3 h ago
            -> syncd run, or where it is a service: systemctl start syncd
          35 deletions by laptop in work/INBOX are held: more than the guard allows (for
          2 h)
            -> syncd holds show 3 lists them; meant: syncd holds release 3; not meant:
            syncd holds discard 3 puts them back

        ACCOUNTS
        work  in sync 12 s ago; 12,345 messages in 12 mailboxes
              imap.example.org:993, TLS; not connected

        DEVICES
        laptop  behind; 12,385 messages in 17 mailboxes; 3 changes to come, the oldest
                for 1 min
                /srv/mail/laptop
        """)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "TLS 1.3, connected for 2 h; changes by QRESYNC"),
        ({"security": "starttls"}, "TLS 1.3 by STARTTLS, connected"),
        (
            {"security": "none", "connection": replace(CONNECTION, tls_version=None), "server": "127.0.0.1:143"},
            "127.0.0.1:143, not encrypted (it is this machine), connected",
        ),
        ({"security": "none", "connection": replace(CONNECTION, tls_version=None)}, "NOT ENCRYPTED, connected"),
        (
            {"mailboxes": (MailboxStatus("Old", 1, 1, None, "listing"), MailboxStatus("New", 1, 1, None, "qresync"))},
            "changes by QRESYNC, 1 mailbox by full compare",
        ),
        ({"connection": replace(CONNECTION, changes_by="condstore")}, "changes by CONDSTORE"),
        ({"connection": replace(CONNECTION, changes_by="listing")}, "changes by full compare"),
        ({"connection": None}, "imap.example.org:993, TLS; not connected"),
        ({"connection": None, "security": "starttls"}, "STARTTLS; not connected"),
    ],
)
def test_account_says_how_it_is_connected(changes: dict[str, Any], said: str) -> None:
    """How encrypted, and how changes are learnt."""
    assert said in shown(status(accounts=(account(**changes),)), width=200)


@pytest.mark.parametrize(
    ("news", "said"),
    [
        (
            NEWS,
            "by push (IDLE), 11 others by poll every 5 min, next in 1 min (IDLE tells of one mailbox)",
        ),
        (
            NewsStatus(True, "INBOX", 0, None, 300.0, NOW + 60),
            "news of INBOX by push (IDLE); all is looked at every 5 min, next in 1 min",
        ),
        (
            NewsStatus(True, "INBOX", 0, None, 300.0, NOW + 60, all_pushed=True),
            "news of all mailboxes by push (IDLE, NOTIFY); all is looked at every 5 min, next in 1 min",
        ),
        (
            NewsStatus(True, "INBOX", 1, "not_told", 300.0, NOW + 60),
            "of 1 mailbox by poll every 5 min, next in 1 min (the server does not tell of those)",
        ),
        (
            NewsStatus(False, None, 12, "no_idle", 300.0, NOW),
            "news by poll every 5 min, next now (the server has no push (IDLE))",
        ),
        (NewsStatus(False, None, 1, "pop3", 120.0, None), "news by poll every 2 min (POP3 has no push)"),
    ],
)
def test_account_says_how_news_come_and_why_so(news: NewsStatus, said: str) -> None:
    """Push or poll, how often, and when next."""
    assert said in shown(status(accounts=(account(news=news),)), width=200)


def test_same_trouble_of_many_accounts_is_told_once_with_what_to_do_for_each() -> None:
    """The head counts what is to be done; it lasts as long as for the first, and the next try is the soonest."""
    config = ImapConfig(type="imap", host="h", username="u", password="p")
    refused = {"error": "login refused; waiting does not help", "cause": "login_refused", "is_lasting": True}
    down = [
        account(
            f"a{n}",
            **refused,
            remedy=account_remedy(Cause.LOGIN_REFUSED, f"a{n}", config),
            failing_since_at=NOW - 60 * n,
            retry_at=NOW + 900 - 60 * n,
        )
        for n in range(1, 4)
    ]

    lines = shown(status(accounts=tuple(down)), width=200).splitlines()

    assert lines[:3] == [
        "1 thing needs you:",
        "  accounts a1, a2, a3: login refused (for 3 min, again in 12 min)",
        "    -> check username and password of [accounts.a1], [accounts.a2], [accounts.a3]; "
        "many providers want an app password; then: syncd sync a1 a2 a3",
    ]


def test_trouble_of_very_many_names_some_and_says_how_many_more() -> None:
    """A network that is away is one thing; a device has its own path in what is to be done."""
    lost = {"error": "no route to it", "cause": "unreachable"}
    down = [account(f"a{n}", **lost, remedy=f"look; then: syncd sync a{n}") for n in range(40)]
    away = [
        device(
            n, state="away", error="not there", cause="away", remedy=device_remedy(None, "away", n, f"/srv/mail/{n}")
        )
        for n in ("laptop", "phone")
    ]

    text = shown(status(accounts=tuple(down), devices=tuple(away)), width=200)

    assert text.startswith("1 thing needs you:\n  devices laptop, phone: not there\n")
    assert "-> mount /srv/mail/laptop, /srv/mail/phone or put it back: it goes on by itself. If it moved" in text
    assert "accounts a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11 and 28 more: no route to it\n" in text
    assert "-> look; then: syncd sync\n" in text


def test_file_that_no_server_takes_needs_a_person_before_long() -> None:
    """It is tried again, but what is wrong with a file ends by itself only where the server had no room."""
    added = TroubleStatus("work", "INBOX", None, "laptop", "it has NUL octets", 4, NOW - 100, NOW + 300)
    (soon,) = status(troubles=(added,)).findings
    (later,) = status(troubles=(replace(added, since_at=NOW - 4000),)).findings
    (several,) = status(troubles=(added, replace(added, device="phone"))).findings

    assert [soon.needs_person, later.needs_person] == [False, True]
    assert soon.text == "one file is set aside, such as in work/INBOX: it has NUL octets"
    assert soon.remedy == "it stays on laptop: make room, mend it or take it away; syncd sync work tries again"
    assert several.text.startswith("2 files are set aside")
    assert (several.remedy or "").startswith("they stay on laptop, phone: make room, mend them or take them away; ")


def test_holds_are_told_each_for_each_is_decided_alone() -> None:
    """Their words are the same, and what is to be done is not."""
    text = shown(status(holds=(HELD, replace(HELD, id=4))), width=120)

    assert text.startswith("2 things need you")
    assert "syncd holds show 3 " in text
    assert "syncd holds show 4 " in text


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        ([account()], "in sync; 12,385"),
        ([account(), pop3_account(error="no", cause="unreachable")], "in sync; 12,385"),
        ([account(lag_s=None), pop3_account(lag_s=None)], "nothing to show yet: none of its accounts was ever in sync"),
        (
            [account(error="no", lag_s=10_900.0), pop3_account(error="no", lag_s=None)],
            "as of 3 h ago: its accounts fail",
        ),
    ],
)
def test_device_is_not_in_sync_where_no_account_of_it_is_served(accounts: list[AccountStatus], said: str) -> None:
    """That nothing is waiting says nothing where nobody asks."""
    seen = status(accounts=tuple(accounts), devices=(device(accounts=tuple(one.name for one in accounts)),))

    line = next(line for line in shown(seen, width=120).splitlines() if line.startswith("laptop"))

    assert said in line


def test_small_screen_shows_the_worst_and_says_what_it_leaves_out() -> None:
    """Details go first, then who is well; it is never higher than the screen."""
    failing = account("last", error="no route to it", cause="unreachable", retry_at=NOW + 5)
    seen = status(accounts=(*(account(f"a{n:02}") for n in range(20)), failing))

    lines = screen(seen, height=24)

    assert len(lines) <= 24
    assert lines[0] == "Nothing needs you; this is tried again by itself:"
    assert lines[lines.index("ACCOUNTS") + 1].startswith("last  FAILING")
    cut = next(line for line in lines if line.startswith("and "))
    shown_blocks = sum(line.startswith("a") and line[1:3].isdigit() for line in lines)
    assert cut == f"and {20 - shown_blocks} accounts more, all well"
    assert "DEVICES" in lines
    assert sum(line.startswith(("laptop", "phone")) for line in lines) == 2


@pytest.mark.parametrize("height", [1, 2, 5, 10, 40])
def test_picture_never_outgrows_its_screen(height: int) -> None:
    """With however much to tell; the first line is always there."""
    broken = [account(f"a{n}", error=f"error {n}", cause="untrusted", remedy="look") for n in range(30)]
    seen = status(accounts=tuple(broken), holds=tuple(replace(HELD, id=n) for n in range(30)))

    lines = screen(seen, height=height)

    assert len(lines) <= height
    assert lines[0] == "60 things need you, the most important first:"


def test_mailboxes_are_shown_where_there_is_something_to_tell_and_all_if_asked() -> None:
    """Of many a few, and how many more there are."""
    gone = replica("Old", is_gone=True, on_server=0, delivered=0)
    lists = [replica(f"Lists/{n}", waiting=2) for n in range(12)]
    seen = status(devices=(device(replicas=(replica(), gone, *lists), waiting=24),))

    few, every, piped = shown(seen, height=99), shown(seen, every_mailbox=True, height=99), shown(seen)

    assert "work/INBOX" not in few
    assert "laptop  work/Old: 0, gone on the server\n" in few
    assert "laptop  work/Lists/0: 3 of 3; 2 to come\n" in few
    assert "and 3 mailboxes more\n" in few
    assert "laptop  work/INBOX: 3 of 3\n" in every
    assert "work/Lists/11" in every
    assert "work/Lists/11" in piped


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "the server's words say why; it is tried again by itself, and all other mailboxes go on"),
        ({"daemon": None}, "syncd sync work tries it now"),
    ],
)
def test_mailbox_that_cannot_be_read_is_told_with_what_to_do(changes: dict[str, Any], told: str) -> None:
    """Whether a daemon tries it again, or somebody has to."""
    failing = account(mailboxes=(MailboxStatus("Old", 3, 3, 'select refused by the server: "no"'),))

    text = " ".join(shown(status(accounts=(failing,), **changes)).split())

    assert f'work/Old: select refused by the server: "no" -> {told}' in text


def test_messages_that_are_set_aside_are_listed_with_their_reason() -> None:
    """The mailbox, the message, how often it was tried, and why; what is never tried again needs a person."""
    of_laptop = {"device": "laptop", "error": "create refused", "attempts": 2, "since_at": NOW - 600}
    troubles = (
        TroubleStatus("work", "INBOX", 12, None, "too large", 3, NOW - 10, retry_at=None),
        TroubleStatus("work", "Lists", None, retry_at=NOW + 300, is_mailbox=True, **of_laptop),  # type: ignore[arg-type]
        TroubleStatus("work", "Lists", None, retry_at=NOW, **of_laptop),  # type: ignore[arg-type]
        TroubleStatus("isp", "INBOX", None, None, "refused", 1, NOW, retry_at=NOW + 60),
    )

    text = shown(status(troubles=troubles), width=120)

    assert "1 thing needs you:\n  one message is set aside, such as in work/INBOX: too large (for 10 s)\n" in text
    assert "  one message is set aside, such as in isp/INBOX: refused (for 0 s)" in text
    assert "work/INBOX uid 12: too large; 3 tries, not again by itself\n" in text
    assert "the mailbox work/Lists on laptop: create refused; 2 tries, again in 5 min\n" in text
    assert "work/Lists, a new file on laptop: create refused; 2 tries, again now\n" in text
    assert "isp/INBOX, in the maildrop: refused; 1 try, again in 1 min\n" in text


def test_what_is_set_aside_says_what_can_be_done_about_that_kind_of_thing() -> None:
    """A mailbox is no message, and a message that is too large is too large tomorrow as well."""
    large = "the message is larger than max_message_size allows; waiting does not help"
    troubles = (
        TroubleStatus("work", "Lists", None, "laptop", "create refused", 2, NOW - 60, None, is_mailbox=True),
        TroubleStatus("isp", "INBOX", None, None, large, 0, NOW, None),
        TroubleStatus("isp", "INBOX", None, None, "it is no message", 3, NOW, None),
    )

    seen = status(troubles=troubles)

    assert {(one.text, one.remedy) for one in seen.findings} == {
        (
            "what a device did to one mailbox is refused by the server, such as work/Lists: create refused",
            "on laptop, give the directory another name, or undo what was done to it; syncd sync work tries again",
        ),
        (
            "one message is set aside, such as in isp/INBOX: it is no message",
            "once that is mended: syncd sync isp tries again",
        ),
        (
            f"one message is set aside, such as in isp/INBOX: {large}",
            "raise max_message_size of [accounts.isp], or leave it on the server",
        ),
    }


def test_hold_of_a_mailbox_without_messages_is_told_as_a_mailbox_and_a_released_one_as_under_way() -> None:
    """There is no message to count, and nothing to decide any more."""
    empty, released = replace(HELD, count=0, mailbox="Lists"), replace(HELD, id=4, state="released")

    text = shown(status(holds=(empty, released)), width=120)

    assert "  the removal of the mailbox by laptop in work/Lists is held: more" in text
    under_way = "35 deletions by laptop, work/INBOX, held 2 h ago; released, waiting for the next round"
    assert f"RELEASED\n4  {under_way}\n" in text


@pytest.mark.parametrize("name", ["\x1b[2J", "\r", "\u202e", "\x9b1m"])
def test_texts_of_servers_cannot_move_the_cursor(name: str) -> None:
    """In every place where such a text is shown."""
    seen = status(
        accounts=(
            account(error=name, mailboxes=(MailboxStatus(name, 1, 1, name),)),
            account("other", doing=name, news=replace(NEWS, pushed=name)),
        ),
        devices=(device(replicas=(replica(name, waiting=1),), error=name), device("phone", doing=name)),
        troubles=(TroubleStatus("work", name, 1, None, name, 1, NOW, NOW),),
        holds=(replace(HELD, mailbox=name),),
    )

    text = shown(seen, width=200)

    assert name not in text
    assert text.count(name.encode("unicode_escape").decode()) >= 11


def test_markup_of_names_is_only_text() -> None:
    """Brackets in a mailbox name are shown, not obeyed."""
    assert "[red]x[/]" in shown(status(devices=(device(replicas=(replica("[red]x[/]", waiting=1),)),)))


def test_text_of_any_length_is_shown_by_its_ends() -> None:
    """A name of thousands of characters hides neither the rest of the picture nor what is said of it."""
    text = shown(status(devices=(device(error=f"work/{'x' * 5000}: the name is too long"),)))

    words = "".join(text.split())
    assert "work/xxx" in words
    assert "x:thenameistoolong" in words
    assert words.count("x") < 300


def test_every_cause_has_a_remedy_or_says_itself_what_to_do() -> None:
    """No account or device that needs a person is left without a word."""
    config = ImapConfig(type="imap", host="h", username="u", password_command=["pass"])
    without = {cause for cause in Cause if account_remedy(cause, "work", config) is None}

    assert without == {Cause.AWAY, Cause.MAILBOX_LOST, Cause.OTHER}  # the first two are of devices
    assert "password_command of [accounts.work]" in (account_remedy(Cause.LOGIN_REFUSED, "work", config) or "")
    assert "syncd adopt phone" in (device_remedy(Cause.AWAY, "foreign", "phone", "/p") or "")
    other_layout = device_remedy(Cause.AWAY, "foreign", "phone", "/p", layout="maildir++") or ""
    assert other_layout.startswith('set layout = "maildir++" of [devices.phone]'), "adopting converts nothing"
    assert "room on the disk of /p" in (device_remedy(Cause.DISK_FULL, "active", "phone", "/p") or "")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            "it is the server and user that account work was: syncd account rename work job goes on with its mail",
            "syncd account rename work job",
        ),
        (
            "it is another server or user than the one that the mail of this account came from",
            "put type, host and username of [accounts.job] back, or call the new one otherwise: [accounts.job2]",
        ),
    ],
)
def test_account_that_is_not_the_one_it_was_is_told_the_command(error: str, remedy: str) -> None:
    """Whether a daemon says so or the store remembers it."""
    config = ImapConfig(type="imap", host="h", username="u", password_command=["pass"])

    assert account_remedy(Cause.OTHER, "job", config, error=error, is_lasting=True) == remedy
    assert account_remedy(None, "job", config, error=error, is_lasting=True, is_running=False) == remedy


@pytest.mark.parametrize(
    "words",
    [
        "syncd account rename work evil",
        "it is the server and user that account work was: syncd account rename work evil goes on with its mail",
        "it is another server or user than the one that the mail of this account came from",
    ],
)
def test_words_of_a_server_are_never_the_command(words: str) -> None:
    """What a person is told to type is ours, whatever a server says."""
    config = ImapConfig(type="imap", host="h", username="u", password_command=["pass"])
    error = f"login refused by the server: {words}"
    right = account_remedy(Cause.LOGIN_REFUSED, "work", config)

    assert account_remedy(Cause.LOGIN_REFUSED, "work", config, error=error) == right
    assert account_remedy(Cause.LOGIN_REFUSED, "work", config, error=error, is_running=False) == right


def test_details_of_who_is_well_are_left_out_only_where_it_is_shown_live() -> None:
    """What is printed once may be scrolled, so nothing is missing in it."""
    failing = account("zz", error="no route to it", cause="unreachable", retry_at=NOW + 5)
    seen = status(accounts=(*(account(f"a{n}") for n in range(9)), failing))

    small, large, live = shown(seen, height=24), shown(seen, height=99), screen(seen, height=24)

    assert small == large
    assert large.count("by push") == 10
    assert sum("by push" in line for line in live) == 1


def test_hook_that_fails_is_told_with_its_next_try() -> None:
    """It needs a person where it is told nothing more of the same."""
    failing = HookStatus("on_new_mail", False, 3, 3, 0, "exit code 1", NOW + 30)

    waits = shown(status(hooks=(failing,)), width=120)
    given_up = shown(status(hooks=(replace(failing, retry_at=None),)), width=120)

    assert waits.splitlines()[:2] == [
        "Nothing needs you; this is tried again by itself:",
        "  hook on_new_mail: exit code 1 (again in 30 s)",
    ]
    assert waits.splitlines()[2].startswith("    -> see that its command")
    assert given_up.startswith("1 thing needs you:\n  hook on_new_mail: exit code 1\n")


def test_mailbox_that_a_device_lost_needs_a_person_from_the_first_moment_on() -> None:
    """Waiting brings nothing back; what does is said with the name of the device, and how it goes on."""
    remedy = device_remedy(Cause.MAILBOX_LOST, "active", "nas", "/srv/nas")
    lost = device("nas", error="work/INBOX: its directory is not there", cause="mailbox_lost", remedy=remedy)

    assert shown(status(devices=(lost,)), width=300).startswith(
        "1 thing needs you:\n"
        "  device nas: work/INBOX: its directory is not there\n"
        "    -> bring back what was there: it goes on by itself. If it is lost: syncd adopt nas, and only then make an"
        " empty one, with cur/, new/ and tmp/, which is filled again\n"
    )
    assert "there; then: syncd sync. " in str(
        device_remedy(Cause.MAILBOX_LOST, "active", "nas", "/srv/nas", is_running=False)
    )


def test_account_that_was_never_reached_and_its_device_have_no_counts() -> None:
    """Nothing is known of its mail: none in no mailboxes would say otherwise."""
    never = account(doing="not running", connection=None, lag_s=None, messages=0, mailbox_count=0)
    empty = device(doing="not running", messages=0, mailbox_count=0, accounts=("work",))
    away = replace(empty, state="away", settled_at=None)

    text = shown(status(accounts=(never,), devices=(empty, replace(away, name="nas"))))

    assert "work  never in sync yet\n" in text
    assert "laptop  nothing to show yet: none of its accounts was ever in sync\n" in text
    assert "nas     AWAY\n        /srv" in text


def test_adopted_device_says_with_which_accounts_it_is_still_to_be_compared() -> None:
    """It waits for those that were never listed, while all that is known is in sync."""
    accounts = (account(), account(name="new", lag_s=None))
    adopted = device(state="adopting", accounts=("work", "new"))

    of_both, of_work = (
        shown(status(accounts=those, devices=(replace(adopted, accounts=tuple(one.name for one in those)),)))
        for those in (accounts, accounts[:1])
    )

    assert "in sync, still to be compared with new; " in of_both
    assert "in sync, being compared; " in of_work
