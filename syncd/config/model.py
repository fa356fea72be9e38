"""Floor 2: the configuration as frozen values: every key, its type, its default; those of accounts in `accounts`.

Keys keep their names in the file; attributes of durations and sizes say their unit (`poll_interval` is read as
`poll_interval_s`). Paths are absolute. What several tables must agree on is in `checks`; what the contract names but
this version cannot do is in `availability`.

The descriptions are for people who write the file: `make reference` makes syncd.toml(5) and the JSON schema of them.
What is in backticks is written so in the file. They do not repeat a default that is a plain value.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from syncd.config.accounts import AccountConfig, ImapConfig, OAuthConfig, Pop3Config
from syncd.config.table import Table, keys_of
from syncd.config.values import (
    SQLITE,
    AbsolutePath,
    Command,
    Listen,
    Name,
    Patterns,
    PositiveBytes,
    PositiveSeconds,
    Seconds,
    StoreUrl,
)


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


class StoreConfig(Table):
    """Say where the store is; `url` is a secret because one of PostgreSQL may contain a password."""

    url: StoreUrl = Field(
        description="Where the store is: a file of SQLite, or a database of PostgreSQL, for which syncd is installed "
        "with `syncd[postgres]`. Default: `syncd.db` in `$STATE_DIRECTORY` under systemd, else in "
        "`$XDG_STATE_HOME/syncd` (`~/.local/state/syncd`).",
        examples=["sqlite:////var/lib/syncd/syncd.db", "postgresql://user@host/database"],
    )
    key_file: AbsolutePath | None = Field(
        default=None,
        description="The file of the key with which the store seals tokens of OAuth, made at the first "
        "`syncd auth login`. Default: beside the file of the store, `syncd.db.key`. With PostgreSQL it has to be said, "
        "and is the same on all machines that use the database.",
        examples=["/var/lib/syncd/syncd.key"],
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

    @property
    def key_path(self) -> Path | None:
        """Return the file of the key, None where nothing says which that is."""
        beside = self.sqlite_path
        return self.key_file or (beside.with_name(f"{beside.name}.key") if beside is not None else None)


class DeviceConfig(Table):
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


class GuardConfig(Table):
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


class HooksConfig(Table):
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


class DaemonConfig(Table):
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


class Config(Table):
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
    # NOTE: these two are read as if they were there and empty: one made here would have its own validator built first.
    guard: GuardConfig = Field(
        default_factory=dict,
        validate_default=True,
        description="How much may be deleted within a short time. More than `count` and more than `share` is held "
        "until a person has looked (`syncd holds`): of removals from a device, and of deletions by it or by all "
        "devices of an account together.",
    )
    hooks: HooksConfig = Field(
        default_factory=dict,
        validate_default=True,
        description=(
            "Commands, with their arguments, that run when something happened;"
            " what it was is JSON on their standard input."
        ),
    )
    daemon: DaemonConfig = Field(description="Where the daemon listens and how it logs.")

    def has(self, account: str, device: str | None) -> bool:
        """Tell whether there is this account, and this device where one is named."""
        return account in self.accounts and (device is None or device in self.devices)

    def accounts_of(self, device: str) -> Mapping[str, ImapConfig | Pop3Config]:
        """Return the accounts that a device selects, by name in the order of the file."""
        chosen = self.devices[device].accounts
        return {name: account for name, account in self.accounts.items() if chosen is None or name in chosen}


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
