"""Floor 2: what several tables of a configuration must agree on."""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path

from syncd.config.accounts import ImapConfig, Pop3Config, Tls
from syncd.config.model import Config
from syncd.config.problems import did_you_mean
from syncd.config.providers import PROVIDERS
from syncd.config.sources import KeyPath
from syncd.hosts import is_loopback

_WAYS_TO_LOG_IN = "password, password_file, password_command, token_command, oauth, client_cert"
Finding = tuple[tuple[str, ...], str]
"""The path of a key, and what is wrong there."""


def disagreements(config: Config, *, accounts: Mapping[str, object]) -> Iterator[Finding]:
    """Yield what does not fit together; `accounts` are those the file names, valid or not."""
    yield from _plaintext(config)
    yield from _certificates(config)
    yield from _applications(config)
    yield from _same_mailbox(config)
    yield from _unknown_accounts(config, accounts)
    yield from _paths(config)


def without_login(config: Config) -> Iterator[Finding]:
    """Yield the accounts of which nothing says how to log in."""
    for name, account in config.accounts.items():
        if not account.can_log_in:
            yield ("accounts", name), f"one of {_WAYS_TO_LOG_IN} is missing"


def what_providers_take(config: Config) -> Iterator[tuple[KeyPath, str, bool]]:
    """Yield what the providers of accounts with a password say of passwords, and whether that one is of no use."""
    for name, account in config.accounts.items():
        provider = PROVIDERS.get(account.provider or "")
        if provider is not None and provider.login and account.has_password:
            yield ("accounts", name, "provider"), provider.login, provider.has_tokens_only


def _plaintext(config: Config) -> Iterator[Finding]:
    for name, account in config.accounts.items():
        if account.tls is Tls.NONE and not account.allow_plaintext and not is_loopback(account.host):
            yield ("accounts", name, "tls"), 'tls = "none" to another machine needs allow_plaintext = true'


def _certificates(config: Config) -> Iterator[Finding]:
    for name, account in config.accounts.items():
        if account.tls is Tls.NONE and account.pin_sha256 is not None:
            yield ("accounts", name, "pin_sha256"), 'with tls = "none" the server shows no certificate'
        if account.tls is Tls.NONE and account.client_cert is not None:
            yield ("accounts", name, "client_cert"), 'with tls = "none" the server is shown no certificate'
        if account.pin_sha256 is not None and account.ca_file is not None:
            yield ("accounts", name, "ca_file"), "pin_sha256 alone decides whom to trust: remove one of the two"


def _applications(config: Config) -> Iterator[Finding]:
    for name, account in config.accounts.items():
        if account.oauth is None:
            continue

        from syncd.config.oauth import application_of  # noqa: PLC0415  # most have no account with tokens

        try:
            application_of(account)
        except ValueError as error:
            yield ("accounts", name, "oauth"), str(error)
        if config.store.key_path is None:
            yield ("store", "url"), f"with PostgreSQL accounts.{name}.oauth needs [store] key_file"


def _same_mailbox(config: Config) -> Iterator[Finding]:
    seen: dict[tuple[str, int | None, str], str] = {}
    for name, account in config.accounts.items():
        first = seen.setdefault(_mailbox_of(account), name)
        if first != name:
            yield ("accounts", name), f"the same host and username as accounts.{first}"


def _mailbox_of(account: ImapConfig | Pop3Config) -> tuple[str, int | None, str]:
    # NOTE: ports do not tell mailboxes apart (143 and 993, or POP3 and IMAP of one provider), except on loopback,
    # where they are tunnels.
    port = account.port if is_loopback(account.host) else None
    return account.host.lower().rstrip("."), port, account.username


def _unknown_accounts(config: Config, accounts: Mapping[str, object]) -> Iterator[Finding]:
    for name, device in config.devices.items():
        for wanted in device.accounts or ():
            if wanted not in accounts:
                yield ("devices", name, "accounts"), _unknown(wanted, accounts)
    for name, account in config.accounts.items():
        if isinstance(account, Pop3Config) and account.forward_to is not None:
            target = account.forward_to.partition("/")[0]
            if target not in accounts:
                yield ("accounts", name, "forward_to"), _unknown(target, accounts)
            elif isinstance(config.accounts.get(target), Pop3Config):
                yield ("accounts", name, "forward_to"), f"accounts.{target} is not an IMAP account"


def _unknown(name: str, accounts: Iterable[str]) -> str:
    return f'there is no account "{name}"{did_you_mean(name, accounts)}'


def _paths(config: Config) -> Iterator[Finding]:
    roots = {name: _real(device.path) for name, device in config.devices.items()}
    for (first, one), (second, other) in combinations(roots.items(), 2):
        if one == other:
            yield ("devices", second, "path"), f"the same directory as devices.{first}.path"
        elif _contains(one, other):
            yield ("devices", second, "path"), f"inside of devices.{first}.path"
        elif _contains(other, one):
            yield ("devices", second, "path"), f"contains devices.{first}.path"
    store = _real(config.store.sqlite_path) if config.store.sqlite_path is not None else None
    for name, root in roots.items():
        if store is not None and (root == store or _contains(root, store)):
            yield ("devices", name, "path"), "contains the store"


def _real(path: Path) -> Path:
    # NOTE: a symbolic link must not hide that two replicas are one directory; Path.resolve() fails where they circle.
    return Path(os.path.realpath(path))


def _contains(outer: Path, inner: Path) -> bool:
    return outer in inner.parents
