"""The configuration as frozen values: every key of the contract, its type, its default.

Keys keep their names in the file; attributes of durations and sizes say their unit (`poll_interval` is read as
`poll_interval_s`). Paths are absolute. What several tables must agree on is in `checks`; what the contract names but
this version cannot do is in `availability`.

The descriptions are for people who write the file: `make manual` makes syncd.toml(5) and the JSON schema of them. What
is in backticks is written so in the file. They do not repeat a default that is a plain value.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from syncd.config.values import (
    SQLITE,
    AbsolutePath,
    Command,
    Fingerprint,
    Host,
    Keep,
    Listen,
    Name,
    Patterns,
    Port,
    PositiveBytes,
    PositiveSeconds,
    Seconds,
    StoreUrl,
    Target,
    Text,
    User,
)

SECRETS = ("password", "password_file", "password_command", "token_command", "oauth")
"""The keys of an account of which exactly one says how to log in."""


class Tls(StrEnum):
    """Say how a connection is encrypted."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class Layout(StrEnum):
    """Say how mailboxes become directories of a replica."""

    MAILDIRPP = "maildir++"
    FS = "fs"


class Watch(StrEnum):
    """Say how changes in a replica are noticed."""

    AUTO = "auto"
    POLL = "poll"


class LogFormat(StrEnum):
    """Say what the log looks like; auto: console in a terminal, journald where systemd reads it, else JSON."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"
    JOURNALD = "journald"


class LogLevel(StrEnum):
    """Say from which severity on events are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class StoreConfig(_Table):
    """Say where the store is; `url` is a secret because one of PostgreSQL may contain a password."""

    url: StoreUrl = Field(
        description="Where the store is: a file of SQLite, or a database of PostgreSQL, for which syncd is installed "
        "with `syncd[postgres]`. Default: `syncd.db` in `$STATE_DIRECTORY` under systemd, else in "
        "`$XDG_STATE_HOME/syncd` (`~/.local/state/syncd`).",
        examples=["sqlite:////var/lib/syncd/syncd.db", "postgresql://user@host/database"],
    )
    retention_s: Seconds = Field(
        default=30 * 86400.0,
        alias="retention",
        description="How long a message that was deleted can be restored by `syncd restore`; then it is swept.",
    )
    auto_migrate: bool = Field(
        default_factory=lambda given: given["url"].get_secret_value().startswith(SQLITE),
        description="Upgrade the store at start, after a copy of it. Where not, `syncd migrate` does. "
        "Default: `true` with SQLite, `false` with PostgreSQL.",
    )

    @property
    def sqlite_path(self) -> Path | None:
        """Return the database file, None for PostgreSQL."""
        url = self.url.get_secret_value()
        return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


class OAuthConfig(_Table):
    """Name the application that asks an identity provider for tokens."""

    client_id: Text = Field(description="The name of the application at the provider.")
    client_secret: SecretStr | None = Field(
        default=None, description="What the provider gave the application as proof."
    )
    issuer: Text | None = Field(default=None, description="The URL of the provider, which names all others.")
    tenant: Text | None = Field(default=None, description="The organization, at a provider that has several.")
    authorization_url: Text | None = Field(default=None, description="Where a person grants access.")
    token_url: Text | None = Field(default=None, description="Where tokens are asked for.")
    scopes: tuple[Text, ...] = Field(default=(), description="What access is asked for.")


class _Account(_Table):
    provider: Text | None = Field(
        default=None,
        description="A provider that is known, which fills in `host`, `port` and `tls`.",
        examples=["gmail", "outlook", "fastmail", "icloud", "yahoo"],
    )
    host: Host = Field(description="The server, by its name or its address.", examples=["mail.example.org"])
    tls: Tls = Field(
        default=Tls.IMPLICIT,
        description="How the connection is encrypted: from its beginning (`implicit`), after the command STARTTLS "
        "(`starttls`), or not at all (`none`), which is only allowed to this machine, or with `allow_plaintext`.",
    )
    allow_plaintext: bool = Field(
        default=False,
        description='Allow `tls = "none"` to another machine as well. Password and mail can be read on the way.',
    )
    ca_file: AbsolutePath | None = Field(
        default=None,
        description="A file of certificates (PEM) to trust instead of those of the system.",
        examples=["/etc/ssl/own-ca.pem"],
    )
    pin_sha256: Fingerprint | None = Field(
        default=None, description="The SHA-256 fingerprint of the only certificate to trust."
    )
    client_cert: AbsolutePath | None = Field(
        default=None, description="A file with the certificate and key (PEM) that prove who you are."
    )
    username: User = Field(
        repr=False, description="The name to log in with, often the whole address.", examples=["ana"]
    )
    password: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        default=None,
        description="The password itself. The file should be readable by nobody else then. Exactly one of `password`, "
        "`password_file` and `password_command` is needed.",
    )
    password_file: AbsolutePath | None = Field(
        default=None,
        description="A file whose first line is the password.",
        examples=["/run/secrets/work", "work.password"],
    )
    password_command: Command | None = Field(
        default=None,
        description="A command, with its arguments, that prints the password as its first line. It is run without a "
        "shell, and has 30 seconds.",
        examples=[["pass", "show", "mail/work"]],
    )
    token_command: Command | None = Field(
        default=None, description="A command, with its arguments, that prints a token of OAuth."
    )
    oauth: OAuthConfig | None = Field(default=None, description="How tokens of OAuth are got from the provider.")

    @model_validator(mode="after")
    def _at_most_one_way_to_log_in(self) -> Self:
        given = [key for key in SECRETS if getattr(self, key) is not None]
        if len(given) > 1:
            raise PydanticCustomError("secrets", "{keys} exclude each other", {"keys": " and ".join(given)})
        return self

    @property
    def can_log_in(self) -> bool:
        """Whether anything is said to log in with."""
        return self.client_cert is not None or any(getattr(self, key) is not None for key in SECRETS)


_PORT = "The port of the server. Default: 993 with IMAP, 995 with POP3; 143 and 110 unless `tls` is `implicit`."
_POLL_INTERVAL = (
    "How often the server is asked for what it does not tell by itself. Default: `5m` with IMAP, `2m` with POP3."
)


class ImapConfig(_Account):
    """Describe an account on an IMAP server."""

    type: Literal["imap"] = Field(description="What the server speaks, `imap` or `pop3`.")
    port: Port = Field(
        default_factory=lambda given: 993 if given["tls"] is Tls.IMPLICIT else 143,
        description=_PORT,
    )
    mailboxes: Patterns = Field(
        default=("*",),
        description="Which mailboxes are synced. `*` is any text, `?` one character, `!` before a pattern leaves out; "
        "of those that match a name the last counts.",
        examples=[["*", "!Junk"], ["INBOX", "Archive*"]],
    )
    delete: Literal["trash", "expunge"] | None = Field(
        default=None,
        description="What becomes of a message that a device deletes: moved to the Trash of the server (`trash`), or "
        "deleted for good (`expunge`), of which the store of syncd keeps a copy for `retention`. "
        "Default: `trash` where the server has one.",
    )
    poll_interval_s: PositiveSeconds = Field(default=300.0, alias="poll_interval", description=_POLL_INTERVAL)


class Pop3Config(_Account):
    """Describe an account on a POP3 server; its mailboxes live in the store."""

    type: Literal["pop3"] = Field(description="What the server speaks, `imap` or `pop3`.")
    port: Port = Field(
        default_factory=lambda given: 995 if given["tls"] is Tls.IMPLICIT else 110,
        description=_PORT,
    )
    keep_s: Keep = Field(
        default=0.0,
        alias="keep",
        description="How long a message stays on the server once it is safe in the store: `0d` deletes it at once.",
    )
    """None: for ever."""
    poll_interval_s: PositiveSeconds = Field(default=120.0, alias="poll_interval", description=_POLL_INTERVAL)
    max_message_size_bytes: PositiveBytes = Field(
        default=100 * 10**6,
        alias="max_message_size",
        description="Larger messages stay on the server, and `syncd status` shows them.",
    )
    forward_to: Target | None = Field(
        default=None,
        description="An IMAP account and its mailbox, into which the mail is moved.",
        examples=["work/INBOX"],
    )


AccountConfig = Annotated[ImapConfig | Pop3Config, Discriminator("type")]


class DeviceConfig(_Table):
    """Describe a device: where its replicas are and what they select."""

    path: AbsolutePath = Field(
        description="The directory of the device: an empty one, or one that syncd has filled. With mail of another "
        "program in it, `syncd adopt` makes it the device's.",
        examples=["/srv/mail/laptop", "~/mail/laptop"],
    )
    accounts: tuple[str, ...] | None = Field(
        default=None,
        description="The accounts that the device has, by their names. Default: all. What is not selected any more "
        "goes from this device, and stays everywhere else.",
        examples=[["work", "isp"]],
    )
    """None: all."""
    mailboxes: Patterns = Field(
        default=("*",),
        description="Which mailboxes of these accounts the device has; patterns as for an account.",
        examples=[["INBOX", "Archive*"]],
    )
    layout: Layout = Field(
        default=Layout.MAILDIRPP,
        description="How mailboxes become directories: `.ACCOUNT.MAILBOX` side by side (`maildir++`), or "
        "`ACCOUNT/MAILBOX`, one inside of the other (`fs`).",
    )
    max_age_s: PositiveSeconds | None = Field(
        default=None,
        alias="max_age",
        description="Older messages are not on this device, unread and flagged ones neither. Default: any age.",
        examples=["365d"],
    )
    max_size_bytes: PositiveBytes | None = Field(
        default=None,
        alias="max_size",
        description="Larger messages are not on this device. Default: any size.",
        examples=["25MB"],
    )
    read_only: bool = Field(
        default=False, description="Undo what is changed on the device, and send nothing of it to a server."
    )
    link: bool = Field(
        default=True, description="Share files with other devices on the same file system, by hard links."
    )
    settle_s: Seconds = Field(
        default=1.0,
        alias="settle",
        description="How long a file must be missing to count as deleted, and stay as it is to be sent. `syncd sync` "
        "does not wait for it. Programs such as Syncthing or rsync need more.",
        examples=["30s"],
    )
    watch: Watch = Field(
        default=Watch.AUTO,
        description="How changes are noticed: the system tells of them (`auto`), or syncd looks (`poll`), for file "
        "systems that tell nothing, such as those of other machines.",
    )


class GuardConfig(_Table):
    """Say how many deletions within a window are too many to be meant."""

    count: Annotated[int, Field(ge=1)] = Field(
        default=25, description="So many messages may go within the window, whatever the share."
    )
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.2, description="This share of what was there when the window began may go, whatever the count."
    )
    window_s: PositiveSeconds = Field(
        default=600.0, alias="window", description="The time within which deletions are counted."
    )


class HooksConfig(_Table):
    """Name commands that run when something happened, and how long one may take."""

    on_new_mail: Command | None = Field(
        default=None, description="Run when new mail has come to a device.", examples=[["notmuch", "new"]]
    )
    on_auth_error: Command | None = Field(
        default=None,
        description="Run when an account needs another password.",
        examples=[["/usr/local/bin/tell-me"]],
    )
    on_hold: Command | None = Field(
        default=None, description="Run when deletions wait for a person.", examples=[["/usr/local/bin/tell-me"]]
    )
    on_error: Command | None = Field(
        default=None, description="Run when anything else does not work.", examples=[["/usr/local/bin/tell-me"]]
    )
    timeout_s: PositiveSeconds = Field(
        default=60.0, alias="timeout", description="A command that runs longer is ended."
    )

    @property
    def commands(self) -> Mapping[str, tuple[str, ...]]:
        """Return the commands that there are, by the key of their hook."""
        named = {key: getattr(self, key) for key in keys_of(HooksConfig) if key.startswith("on_")}
        return {key: command for key, command in named.items() if command is not None}


class DaemonConfig(_Table):
    """Say where the daemon listens and how it logs."""

    socket: AbsolutePath = Field(
        description="The socket by which commands reach the daemon. Default: `syncd.sock` in `$RUNTIME_DIRECTORY` "
        "under systemd, else in `$XDG_RUNTIME_DIR/syncd`, else beside the store.",
        examples=["/run/syncd/syncd.sock"],
    )
    listen: Listen | None = Field(
        default=None,
        description="An address with a port where `/metrics`, `/healthz` and `/readyz` can be asked for by HTTP. "
        "Default: nowhere.",
        examples=["127.0.0.1:9464"],
    )
    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="What the log looks like: lines for people (`console`), a JSON object a line (`json`), both to "
        "standard error, or fields of the journal (`journald`). `auto` is console in a terminal, journald as a service "
        "of systemd, else json.",
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="From which severity on events are logged.")

    @property
    def listen_at(self) -> tuple[str, int] | None:
        """Return host and port of `listen`."""
        if self.listen is None:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Config(_Table):
    """Hold one whole configuration."""

    store: StoreConfig = Field(description="Where syncd remembers what it knows of servers and devices.")
    accounts: dict[Name, AccountConfig] = Field(
        default_factory=dict,
        description="One table for each account on a server, `[accounts.NAME]`. The name is yours, of `a` to `z`, `0` "
        "to `9`, `_` and `-`; it is part of the names of directories on the devices.",
    )
    devices: dict[Name, DeviceConfig] = Field(
        default_factory=dict,
        description="One table for each device, `[devices.NAME]`: a directory in which its mail is.",
    )
    guard: GuardConfig = Field(
        default=GuardConfig(),
        description="How much may be deleted within a short time. More than `count` and more than `share` is held "
        "until a person has looked (`syncd holds`): of removals from a device, and of deletions by it or by all "
        "devices of an account together.",
    )
    hooks: HooksConfig = Field(
        default=HooksConfig(),
        description=(
            "Commands, with their arguments, that run when something happened;"
            " what it was is JSON on their standard input."
        ),
    )
    daemon: DaemonConfig = Field(description="Where the daemon listens and how it logs.")

    def accounts_of(self, device: str) -> Mapping[str, ImapConfig | Pop3Config]:
        """Return the accounts that a device selects, by name in the order of the file."""
        chosen = self.devices[device].accounts
        return {name: account for name, account in self.accounts.items() if chosen is None or name in chosen}


def keys_of(table: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a table as the file spells them."""
    return tuple(field.alias or name for name, field in table.model_fields.items())


def table_at(path: tuple[str, ...], values: Mapping[str, Any]) -> tuple[type[BaseModel], ...]:
    """Return the tables that may be at a path: several for an account whose type in `values` is not known."""
    match path:
        case ():
            return (Config,)
        case ("accounts", name):
            match values.get("accounts", {}).get(name):
                case {"type": "imap"}:
                    return (ImapConfig,)
                case {"type": "pop3"}:
                    return (Pop3Config,)
            return (ImapConfig, Pop3Config)
        case ("accounts", _, "oauth"):
            return (OAuthConfig,)
        case ("devices", _):
            return (DeviceConfig,)
        case ("store",):
            return (StoreConfig,)
        case ("guard",):
            return (GuardConfig,)
        case ("hooks",):
            return (HooksConfig,)
        case ("daemon",):
            return (DaemonConfig,)
    return ()
