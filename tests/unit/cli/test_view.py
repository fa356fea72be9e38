"""The tables of `syncd status`."""

import io

import pytest
from rich.console import Console

from syncd.cli.view import Screen, age
from syncd.daemon.status import (
    AccountStatus,
    DaemonStatus,
    DeviceStatus,
    HoldStatus,
    MailboxStatus,
    ReplicaStatus,
    Status,
    TroubleStatus,
    progress_of,
)

NOW = 100_000.0


def account(**changes: object) -> AccountStatus:
    values: dict[str, object] = {
        "name": "work",
        "type": "imap",
        "doing": "idle",
        "since_at": NOW,
        "mode": "push",
        "succeeded_at": NOW - 90,
        "lag_s": 90.0,
        "error": None,
        "failed_at": None,
        "failures": 0,
        "retry_at": None,
        "mailboxes": (MailboxStatus("INBOX", 1200, 1000, None),),
    }
    return AccountStatus(**(values | changes))  # type: ignore[arg-type]  # a test's shorthand


def device(**changes: object) -> DeviceStatus:
    values: dict[str, object] = {
        "name": "laptop",
        "path": "/srv/laptop",
        "state": "active",
        "doing": "delivering",
        "since_at": NOW,
        "settled_at": NOW - 7200,
        "waiting": 3,
        "lag_s": 7200.0,
        "error": None,
        "retry_at": None,
        "replicas": (ReplicaStatus("work", "INBOX", 1200, 900, 3, new=1, missing=2, deleted=0, edited=0),),
    }
    return DeviceStatus(**(values | changes))  # type: ignore[arg-type]  # a test's shorthand


def shown(*, daemon: DaemonStatus | None = None, **parts: object) -> str:
    values: dict[str, object] = {"accounts": (account(),), "devices": (device(),), "troubles": (), "holds": ()}
    stream = io.StringIO()
    status = Status(NOW, daemon, **(values | parts))  # type: ignore[arg-type]  # a test's shorthand
    Screen(Console(file=stream, width=200, highlight=False, emoji=False)).show(status)
    return stream.getvalue()


def test_picture_tells_lag_counts_and_what_is_not_synced() -> None:
    """Everything that a person asks first is in it."""
    text = shown(daemon=DaemonStatus(77, "1", NOW - 60))

    assert "the daemon runs since 1 min (pid 77)" in text
    assert "1,000 of 1,200" in text
    assert "2 min ago" in text
    assert "2 h" in text
    assert "1 new, 2 missing" in text


def test_failure_is_shown_with_its_next_try() -> None:
    """Why, and when it is tried again."""
    text = shown(accounts=(account(error="the server refuses the login", retry_at=NOW + 300, lag_s=None),))

    assert "the server refuses the login (again in 5 min)" in text
    assert "never" in text


def test_messages_that_are_set_aside_are_listed_with_their_reason() -> None:
    """The mailbox, the message, how often it was tried, and why."""
    trouble = TroubleStatus("work", "INBOX", 12, None, "the server says NO", 3, NOW - 10, retry_at=None)

    text = shown(troubles=(trouble,))

    assert "work/INBOX" in text
    assert "the server says NO" in text
    assert "not by itself" in text


def test_mailboxes_that_a_server_refused_are_told_apart_from_messages() -> None:
    """Whose it is, and when it is tried again; a message without a UID is a new file, or in a maildrop."""
    values = {"account": "work", "error": "create refused", "attempts": 2, "since_at": NOW - 10}
    of_laptop = {"uid": None, "device": "laptop", **values}
    mailbox = TroubleStatus(mailbox="Lists", retry_at=NOW + 300, is_mailbox=True, **of_laptop)  # type: ignore[arg-type]
    file = TroubleStatus(mailbox="Lists", retry_at=NOW, **of_laptop)  # type: ignore[arg-type]
    untaken = TroubleStatus(mailbox="INBOX", uid=None, device=None, retry_at=None, **values)  # type: ignore[arg-type]

    lines = shown(troubles=(mailbox, file, untaken)).splitlines()[-3:]

    assert [line.split("  ")[0].strip() for line in lines] == ["work/Lists", "work/Lists", "work/INBOX"]
    assert [" ".join(line.split()[1:]) for line in lines] == [
        "the mailbox laptop 2 in 5 min create refused",
        "a new file laptop 2 now create refused",
        "in maildrop 2 not by itself create refused",
    ]


def test_mailbox_without_messages_whose_removal_is_held_is_told_as_a_mailbox() -> None:
    """There is no message to count."""
    held = HoldStatus(5, "by_device", "laptop", "work", "Lists", 0, "mailboxes_emptied", "several", "held", NOW - 60)

    assert "the removal of the mailbox by laptop  work/Lists" in shown(holds=(held,))


def test_holds_tell_whose_how_many_why_and_how_to_go_on() -> None:
    """A person learns what waits, since when, and which command shows more."""
    held = HoldStatus(3, "device", "laptop", "work", "INBOX", 1035, "too_many", "more than allowed", "held", NOW - 7200)
    released = HoldStatus(4, "by_device", "phone", "work", "INBOX", 2, "too_many", "more than allowed", "released", NOW)

    text = shown(holds=(held, released))

    of_laptop, of_phone = (line for line in text.splitlines() if line.endswith("more than allowed"))
    assert of_laptop.split()[:7] == ["3", "1,035", "removals", "on", "laptop", "work/INBOX", "2"]
    assert "2 deletions by phone" in of_phone
    assert "released, waiting for the next round" in of_phone
    assert "nothing of it happens until you decide: see syncd holds" in text


def test_mailbox_that_cannot_be_read_is_named() -> None:
    """Its error is shown though the account is well."""
    text = shown(accounts=(account(mailboxes=(MailboxStatus("Old", 0, 0, "the server says NO"),)),))

    assert "work/Old: the server says NO" in text


def test_mailbox_that_its_server_has_no_more_is_told_apart_from_an_empty_one() -> None:
    """It is shown for as long as the device has its directory, whatever is in there."""
    gone = ReplicaStatus("work", "Old", 0, 0, 0, new=0, missing=0, deleted=0, edited=0, is_gone=True)
    text = shown(devices=(device(replicas=(gone,)),))

    assert next(line for line in text.splitlines() if "work/Old" in line).split()[2:] == ["gone", "0"]


@pytest.mark.parametrize("name", ["\x1b[2J", "\r", "\u202e", "\x9b1m"])
def test_texts_of_servers_cannot_move_the_cursor(name: str) -> None:
    """In every place where such a text is shown."""
    text = shown(
        accounts=(account(error=name, doing=name, mailboxes=(MailboxStatus(name, 1, 1, name),)),),
        devices=(
            device(replicas=(ReplicaStatus("work", name, 1, 1, 0, new=0, missing=0, deleted=0, edited=0),), error=name),
        ),
        troubles=(TroubleStatus("work", name, 1, None, name, 1, NOW, NOW),),
    )

    assert name not in text
    assert text.count(name.encode("unicode_escape").decode()) == 8


def test_markup_of_names_is_only_text() -> None:
    """Brackets in a mailbox name are shown, not obeyed."""
    text = shown(
        devices=(
            device(replicas=(ReplicaStatus("work", "[red]x[/]", 1, 1, 0, new=0, missing=0, deleted=0, edited=0),)),
        )
    )

    assert "[red]x[/]" in text


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (3 * 86400, "3 d")]
)
def test_age_is_said_in_its_largest_unit(seconds: float, said: str) -> None:
    """As a person would say it."""
    assert said == age(seconds)


def test_progress_of_a_device_ends_at_what_it_has() -> None:
    """A device that takes only a part of a mailbox is done when nothing waits for it."""
    status = Status(NOW, None, (account(),), (device(), device(waiting=0)), (), ())

    accounts, behind, done = progress_of(status)

    assert (accounts.done, accounts.total) == (1000, 1200)
    assert (behind.done, behind.total) == (900, 1200)
    assert (done.done, done.total) == (900, 900)


def test_text_of_any_length_is_shown_by_its_ends() -> None:
    """A name of thousands of characters hides neither the rest of the picture nor what is said of it."""
    text = shown(devices=(device(error=f"work/{'x' * 5000}: the name is too long"),))

    words = "".join(text.split())
    assert "work/xxx" in words
    assert "x:thenameistoolong" in words
    assert words.count("x") < 300


def test_what_is_counted_says_how_far_it_is() -> None:
    """Of what there was when it began; more that came meanwhile is not beyond the end."""
    text = shown(
        accounts=(account(doing="pushing changes of INBOX", done=3000, total=50_000),),
        devices=(device(done=51_000, total=50_000),),
    )

    assert "pushing changes of INBOX, 3,000 of 50,000" in text
    assert "delivering, 50,000 of 50,000" in text
    assert " of " not in shown(accounts=(), devices=(device(),)).replace("work/INBOX", "")
