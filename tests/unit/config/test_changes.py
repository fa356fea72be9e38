"""Two configurations compared: what an edit reaches, and what it does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.config.changes import (
    Changes,
    Difference,
    changes_between,
    devices_of,
    reached,
    with_other_passwords,
)
from syncd.config.model import GuardConfig, HooksConfig
from syncd.config.table import keys_of
from tests.unit.config.builders import IMAP, LAPTOP, POP3, reading

BOTH = IMAP + POP3 + LAPTOP


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, str], Changes]:
    """Compare two texts of one file."""

    def compare(before: str, after: str) -> Changes:
        return changes_between(reading(tmp_path, before).config, reading(tmp_path, after).config)

    return compare


def test_same_values_in_other_words_change_nothing(edited: Callable[[str, str], Changes]) -> None:
    """Comments, order and defaults that are spelled out are no edit."""
    changes = edited(BOTH, f'# mine\n{LAPTOP}settle = "1000ms"\n{POP3}{IMAP}port = 993\n')

    assert not changes
    assert changes.at_restart == ()


def test_added_and_removed_accounts_and_devices_are_named(edited: Callable[[str, str], Changes]) -> None:
    """What is there in both is not touched."""
    phone = LAPTOP.replace("laptop", "phone")

    changes = edited(IMAP + LAPTOP, IMAP.replace("work", "home").replace("ana", "bo") + LAPTOP + phone)

    assert changes.accounts == Difference(added=("home",), removed=("work",))
    assert changes.devices == Difference(added=("phone",))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('host = "imap.example.com"', "host"),
        ('username = "bo"', "username"),
        ('password = "another"', "password"),
        ("port = 1993", "port"),
        ('tls = "starttls"', "tls"),
        ('ca_file = "/etc/ssl/mine.pem"', "ca_file"),
    ],
)
def test_how_an_account_is_reached_needs_another_connection(
    edited: Callable[[str, str], Changes], line: str, key: str
) -> None:
    """And only that account's."""
    kept = [one for one in IMAP.splitlines() if not one.startswith(f"{key} ")]

    changes = edited(IMAP + POP3, "\n".join([*kept, line, POP3]))

    assert key in changes.accounts.changed["work"]
    assert changes.reconnecting == {"work"}
    assert not changes.devices


@pytest.mark.parametrize("key", keys_of(HooksConfig))
def test_hooks_count_at_once(edited: Callable[[str, str], Changes], key: str) -> None:
    """Each key, so that nobody waits for a restart to be told."""
    value = '"5s"' if key == "timeout" else '["x"]'

    changes = edited(BOTH, f"{BOTH}[hooks]\n{key} = {value}\n")

    assert (changes.keys, changes.at_restart) == ((f"hooks.{key}",), ())
    assert not changes.accounts
    assert not changes.devices


@pytest.mark.parametrize("line", ['mailboxes = ["INBOX"]', 'delete = "expunge"', 'poll_interval = "1m"'])
def test_what_an_account_does_needs_no_other_connection(edited: Callable[[str, str], Changes], line: str) -> None:
    """It is taken over by the connection that there is."""
    changes = edited(IMAP, f"{IMAP}{line}\n")

    assert changes.accounts.changed == {"work": (line.split(maxsplit=1)[0],)}
    assert changes.reconnecting == frozenset()


def test_changed_keys_of_a_device_are_named_as_in_the_file(edited: Callable[[str, str], Changes]) -> None:
    """Not as the attributes that they become."""
    changes = edited(BOTH, f'{BOTH}settle = "2s"\nmax_age = "90d"\n')

    assert changes.devices == Difference(changed={"laptop": ("max_age", "settle")})
    assert not changes.accounts


def test_keys_that_need_a_restart_are_named_and_do_not_count_yet(edited: Callable[[str, str], Changes]) -> None:
    """What runs afterwards has them as they were, so that the next comparison names them again."""
    before = '[store]\nurl = "sqlite:////one"\n[daemon]\nsocket = "/a"\n'
    after = '[store]\nurl = "sqlite:////two"\nkey_file = "/k"\nretention = "1d"\nauto_migrate = false\n'
    after += '[daemon]\nsocket = "/b"\n'

    changes = edited(before, f'{after}log_level = "debug"\n')

    assert changes.keys == ("store.key_file", "store.retention", "daemon.log_level")
    assert changes.at_restart == ("store.url", "store.auto_migrate", "daemon.socket")
    config = changes.config
    assert config.store.url.get_secret_value() == "sqlite:////one"
    assert (config.store.retention_s, config.store.auto_migrate) == (86400.0, True)
    assert (str(config.daemon.socket), config.daemon.log_level) == ("/a", "debug")


def test_keys_that_need_a_restart_only_are_nothing_to_do_now(edited: Callable[[str, str], Changes]) -> None:
    """They are told, and nothing is started or stopped."""
    changes = edited(IMAP, f'{IMAP}[daemon]\nsocket = "/b"\n')

    assert not changes
    assert changes.at_restart == ("daemon.socket",)


def test_guard_and_log_count_at_once(edited: Callable[[str, str], Changes]) -> None:
    """Nothing is started for them."""
    changes = edited("", '[guard]\ncount = 1\nshare = 0.1\nwindow = "1m"\n[daemon]\nlog_format = "json"\n')

    assert changes.keys == ("guard.count", "guard.share", "guard.window", "daemon.log_format")
    assert changes.config.guard == GuardConfig.model_validate({"count": 1, "share": 0.1, "window": "1m"})


def test_another_type_of_account_is_one_change(edited: Callable[[str, str], Changes]) -> None:
    """No key of one type is compared with one of the other."""
    changes = edited(IMAP, IMAP.replace('"imap"', '"pop3"'))

    assert changes.accounts.changed == {"work": ("type",)}
    assert changes.reconnecting == {"work"}


def test_comparison_shows_no_secret(edited: Callable[[str, str], Changes]) -> None:
    """What an edit changed goes to the log: keys and names, no value."""
    changes = edited(IMAP, IMAP.replace("correct horse", "staple battery"))

    assert changes.accounts.changed == {"work": ("password",)}
    assert not any(secret in repr(changes) for secret in ("correct horse", "staple battery", "ana"))


def test_devices_of_accounts_are_those_that_select_one(tmp_path: Path) -> None:
    """A device that names no account has all of them."""
    phone = '[devices.phone]\npath = "phone"\naccounts = ["isp"]\n'
    config = reading(tmp_path, BOTH + phone).config

    assert devices_of(config, {"work"}) == {"laptop"}
    assert devices_of(config, {"isp"}) == {"laptop", "phone"}
    assert devices_of(config, ()) == frozenset()


PHONE = '[devices.phone]\npath = "phone"\naccounts = ["isp"]\n'


def test_changed_device_is_served_anew_and_its_accounts_look_at_what_it_takes(
    edited: Callable[[str, str], Changes], tmp_path: Path
) -> None:
    """No account is connected anew for it, and no other device begins anew."""
    changes = edited(BOTH + PHONE, f'{BOTH}{PHONE}max_age = "90d"\n')

    whom = reached(reading(tmp_path, BOTH + PHONE).config, changes, other_ids=set(), with_mail=set())

    assert (whom.accounts, whom.devices, whom.adjusted) == (frozenset(), {"phone"}, {"isp"})


def test_account_that_comes_or_goes_reaches_the_devices_that_have_or_take_its_mail(
    edited: Callable[[str, str], Changes], tmp_path: Path
) -> None:
    """Those have to look at their files of it, now or when it comes back; all others go on."""
    nas = '[devices.nas]\npath = "nas"\naccounts = ["work"]\n'
    changes = edited(IMAP + LAPTOP + nas, BOTH + nas + PHONE)

    running = reading(tmp_path, IMAP + LAPTOP + nas).config
    whom = reached(running, changes, other_ids={"isp"}, with_mail=set())
    with_old_files = reached(running, changes, other_ids={"isp"}, with_mail={"nas"})

    assert (whom.accounts, whom.devices) == ({"isp"}, {"laptop", "phone"})
    assert with_old_files.devices == {"laptop", "phone", "nas"}


def test_account_that_is_held_from_now_on_is_served_anew_with_its_devices(
    edited: Callable[[str, str], Changes], tmp_path: Path
) -> None:
    """So it is as after a start with this configuration."""
    changes = edited(BOTH + PHONE, (BOTH + PHONE).replace("pop.example.net", "pop.example.com"))

    whom = reached(reading(tmp_path, BOTH + PHONE).config, changes, other_ids={"isp"}, with_mail=set())

    assert (whom.accounts, whom.devices, whom.adjusted) == ({"isp"}, {"laptop", "phone"}, frozenset())


def test_another_guard_is_for_everybody_and_connects_nobody_anew(
    edited: Callable[[str, str], Changes], tmp_path: Path
) -> None:
    """Devices judge what they hold by it, accounts what devices delete from now on."""
    changes = edited(BOTH, f"{BOTH}[guard]\ncount = 5\n")

    whom = reached(reading(tmp_path, BOTH).config, changes, other_ids=set(), with_mail=set())

    assert (whom.accounts, whom.devices, whom.adjusted) == (frozenset(), {"laptop"}, {"work", "isp"})


def test_another_password_in_a_file_is_a_change_of_its_account(edited: Callable[[str, str], Changes]) -> None:
    """Also where the configuration is what it was; an account that has just come has no other password."""
    same = with_other_passwords(edited(BOTH, BOTH), ["isp"])
    new = with_other_passwords(edited(IMAP, BOTH), ["isp", "gone"])

    assert same.accounts.changed == {"isp": ("password_file",)}
    assert same.reconnecting == {"isp"}
    assert new.accounts == Difference(added=("isp",))
