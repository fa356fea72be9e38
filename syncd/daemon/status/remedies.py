"""Floor 5: what a person can do about an error, by what kind of thing it is; pure."""

import re

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.providers import PROVIDERS
from syncd.errors import Cause
from syncd.store.trees.devices import AWAY, FOREIGN

BY_ITSELF = frozenset(
    {Cause.UNREACHABLE, Cause.TOO_SLOW, Cause.CONNECTION_LOST, Cause.NOT_UNDERSTOOD, Cause.REFUSED, Cause.OTHER}
)
"""What may well end without anybody."""

_RENAMED = re.compile(
    r"it is the server and user that account [a-z0-9_-]+ was: (syncd account rename [a-z0-9_-]+ [a-z0-9_-]+) goes on"
)
_ANOTHER = "it is another server or user than"
"""How `identity` and the store begin to say that an account is not the one it was, which is no cause of its own.

From the beginning on, for a server's words stand further back, and are never a command.
"""


OF_OWN_CERTIFICATE = "the file of client_cert"
"""How `tls` begins to say that our own certificate is of no use."""
OF_KEY = "the key "
"""How `oauth.seal` begins to say that the key of the store is of no use."""
NOT_PINNED = "the server's certificate is not the pinned one"
"""How `tls` begins to say that another certificate came."""
NOT_OFFERED = "the server does not offer encryption"
"""How IMAP and POP3 begin to say that there can be no STARTTLS."""
NO_PROOF = "the server did not prove itself"
"""How IMAP and POP3 begin to say that a server did not show that it knows the password."""


def account_remedy(
    cause: Cause | None,
    name: str,
    config: ImapConfig | Pop3Config,
    *,
    error: str | None = None,
    is_lasting: bool = False,
    is_running: bool = True,
) -> str | None:
    """Return what to do for an account that is not served; None where the error says it, or nobody knows.

    error: its text, which may hold a command that is the remedy. is_lasting: waiting does not help, whatever the cause.
    is_running: there is a daemon, which tries again by itself.
    """
    table = f"[accounts.{name}]"
    again = f"then: syncd sync {name}"
    later = "it is tried again by itself" if is_running else again
    if (remedy := _of_identity(error, name)) is not None:
        return remedy
    if is_lasting and (cause is None or cause in BY_ITSELF):
        return f"see what it says, and {table}; {again}"
    match cause:
        case Cause.LOGIN_REFUSED if config.has_only_certificate:
            return f"check username and client_cert of {table}, or set a password beside it; {again}"
        case Cause.LOGIN_REFUSED if config.oauth is not None:
            return f"check username of {table}, and log in as that one: syncd auth login {name}"
        case Cause.NO_ACCESS:
            return f"syncd auth login {name}"
        case Cause.NO_PASSWORD if config.oauth is not None and error is not None and error.startswith(OF_KEY):
            return f"see what it says, and whether key_file of [store] works for the user that runs syncd; {again}"
        case Cause.NO_PASSWORD if config.oauth is not None:
            return f"see what it says, and oauth of {table}; {again}" if is_lasting else later
        case Cause.LOGIN_REFUSED if wants_token(config.provider, config.login_key):
            login = taken_by(config.provider)
            return f"{login}: set oauth or token_command of {table} in place of {config.login_key}; {again}"
        case Cause.LOGIN_REFUSED:
            said = (f"check username and {config.login_key} of {table}", _wanted(config), again)
            return "; ".join(one for one in said if one)
        case Cause.NO_PASSWORD:
            named = "client_cert" if error is not None and OF_OWN_CERTIFICATE in error else config.login_key
            return f"see that {named} of {table} works for the user that runs syncd; {again}"
        case Cause.UNTRUSTED if error is not None and "client_cert" in error:
            return f"see that client_cert of {table} is the one that the server knows; {again}"
        case Cause.UNTRUSTED if error is not None and error.startswith(NO_PROOF):
            return f"it may not be your server: check host of {table}, and ask whoever runs it; {again}"
        case Cause.UNTRUSTED if error is not None and error.startswith(NOT_PINNED):
            return f"compare with what whoever runs the server says, then set pin_sha256 of {table}; {again}"
        case Cause.UNTRUSTED if config.pin_sha256 is not None or (error is not None and error.startswith(NOT_OFFERED)):
            return f"check host, port and tls of {table}; {again}"
        case Cause.UNTRUSTED:
            own = "for a certificate of its own set ca_file or pin_sha256"
            return f"check host, port and tls of {table}; {own}; {again}"
        case Cause.UNREACHABLE:
            return f"check this machine's network, and host, port and tls of {table}; {later}"
        case Cause.REFUSED:
            return f"the server's words say why; {later}"
        case Cause.DISK_FULL | Cause.FILES:
            end = "it goes on by itself" if is_running else again
            return f"see that the disk of the store has room, and can be written; {end}"
        case Cause.NOT_UNDERSTOOD | Cause.UNEXPECTED:
            return f"report it with what syncd logs; {later}"
    if error is not None and not is_running:
        return f"syncd sync {name} tries it now"
    if cause in {Cause.TOO_SLOW, Cause.CONNECTION_LOST}:
        return "nothing to do unless it stays so: it is tried again by itself"
    return None


def device_remedy(
    cause: Cause | None, state: str, name: str, path: str, *, layout: str | None = None, is_running: bool = True
) -> str | None:
    """Return what to do for a device that is not served.

    layout: that of its files, if another is configured. is_running: there is a daemon, which goes on by itself.
    """
    by_itself = ": it goes on by itself" if is_running else "; then: syncd sync"
    if state == FOREIGN and layout is not None:
        return f'set layout = "{layout}" of [devices.{name}] again, or give it an empty directory as path'
    if state == FOREIGN:
        return f"if {path} is its directory all the same: syncd adopt {name}"
    if state == AWAY:
        return f"mount {path} or put it back{by_itself}. If it moved, or another one is to be filled: name that as path"
    match cause:
        case Cause.DISK_FULL:
            return f"make room on the disk of {path}{by_itself}"
        case Cause.FILES:
            return f"see that the user that runs syncd may write to {path}, and that its disk is sound"
        case Cause.MAILBOX_LOST:
            # NOTE: an empty one, made before the adoption, would say that all that was in it is deleted.
            return (
                f"bring back what was there{by_itself}. If it is lost: syncd adopt {name}, and only then make an empty"
                " one, with cur/, new/ and tmp/, which is filled again"
            )
        case Cause.UNEXPECTED:
            return f"report it with what syncd logs{'; it is tried again by itself' if is_running else ''}"
    return None


def _of_identity(error: str | None, name: str) -> str | None:
    """Return what to do for an account that is not the one it was, None for any other."""
    if error is None:
        return None
    if found := _RENAMED.match(error):
        return found[1]
    if error.startswith(_ANOTHER):
        return (
            f"put type, host and username of [accounts.{name}] back, or call the new one otherwise: [accounts.{name}2]"
        )
    return None


def _wanted(config: ImapConfig | Pop3Config) -> str:
    if config.token_command is not None:
        return "its token should be one for mail of this user"
    known = taken_by(config.provider)
    return "many providers want an app password" if known is None else known


def taken_by(provider: str | None) -> str | None:
    """Return what a provider takes to log in, nothing where that is the usual, None for one that is not known."""
    known = PROVIDERS.get(provider or "")
    return None if known is None else known.login


def wants_token(provider: str | None, login_key: str) -> bool:
    """Tell whether a login by this key is of no use, for the provider takes only tokens."""
    known = PROVIDERS.get(provider or "")
    return known is not None and known.has_tokens_only and login_key not in ("token_command", "oauth")
