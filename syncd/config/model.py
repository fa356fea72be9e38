"""The configuration as frozen values: every key of the contract, its type, its default.

Keys keep their names in the file; attributes of durations and sizes say their unit (`poll_interval` is read as
`poll_interval_s`). Paths are absolute. What several tables must agree on is in `checks`; what the contract names but
this version cannot do is in `availability`.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from syncd.config.amounts import parse_duration, parse_size

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgresql+psycopg://")
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


def base_directory(info: ValidationInfo) -> Path:
    """Return the directory that relative paths are relative to, as `load` passes it: that of the file."""
    context = info.context
    return context if isinstance(context, Path) else Path.cwd()


def _absolute(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("should be a path")
    try:
        return base_directory(info) / Path(value).expanduser()
    except RuntimeError:
        raise ValueError("should not begin with ~ and a name that is no user's") from None


def _duration(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("duration", 'should be a duration with its unit, such as "5m"')
    return parse_duration(value)


def _size(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticCustomError("size", 'should be a size with its unit, such as "25MB"')
    return parse_size(value)


def _like(pattern: str, what: str) -> AfterValidator:
    shape = re.compile(pattern)

    def check(text: str) -> str:
        if not shape.fullmatch(text):
            raise ValueError(f"should be {what}")
        return text

    return AfterValidator(check)


def _has_port(listen: str) -> str:
    if not 1 <= int(listen.rpartition(":")[2]) <= 65535:
        raise ValueError("should have a port between 1 and 65535")
    return listen


Name = Annotated[str, _like(r"[a-z0-9_-]{1,64}", 'a name of "a" to "z", "0" to "9", "_" and "-"')]
Text = Annotated[str, _like(r"[^\0]+", "a text that is not empty")]
Host = Annotated[str, _like(r"[^\s/@\x00-\x1f\x7f]{1,255}", "a host name or an address")]
User = Annotated[str, _like(r"[^\x00-\x1f\x7f]+", "a text of one line that is not empty")]
Port = Annotated[int, Field(ge=1, le=65535)]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Seconds = Annotated[float, BeforeValidator(_duration)]
PositiveSeconds = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(_size)]
Command = Annotated[tuple[Text, ...], Field(min_length=1)]
Patterns = tuple[Annotated[str, _like(r"(?!!\Z)[^\0]+", "a pattern that is not empty")], ...]
Fingerprint = Annotated[str, _like(r"[0-9a-fA-F]{64}", "a SHA-256 fingerprint of 64 hexadecimal digits")]
Listen = Annotated[
    str,
    _like(r"(\[[0-9a-fA-F:.]+\]|[^\s:]+):[0-9]{1,5}", 'an address with a port, "127.0.0.1:9464"'),
    AfterValidator(_has_port),
]
Target = Annotated[str, _like(r"[a-z0-9_-]+/[^\0]+", 'an account and a mailbox, "work/INBOX"')]


def _store_url(url: SecretStr, info: ValidationInfo) -> SecretStr:
    text = url.get_secret_value()
    if text.startswith(SQLITE):
        path = text.removeprefix(SQLITE)
        if not path or path.startswith(":memory:") or "?" in path:
            raise ValueError("should name a file: sqlite:////var/lib/syncd/syncd.db")
        return SecretStr(f"{SQLITE}{_absolute(path, info)}")
    if text.startswith(POSTGRESQL) and _names_database(text):
        return url
    raise ValueError("should be sqlite:////path/to/file or postgresql://user@host/database")


def _names_database(url: str) -> bool:
    try:
        return bool(urlsplit(url).path.strip("/"))
    except ValueError:
        # NOTE: the text of this error would show the password.
        return False


class StoreConfig(_Table):
    """Say where the store is; `url` is a secret because one of PostgreSQL may contain a password."""

    url: Annotated[SecretStr, AfterValidator(_store_url)]
    retention_s: Seconds = Field(default=30 * 86400.0, alias="retention")
    auto_migrate: bool = Field(
        default_factory=lambda given: given["url"].get_secret_value().startswith(SQLITE),
    )

    @property
    def sqlite_path(self) -> Path | None:
        """Return the database file, None for PostgreSQL."""
        url = self.url.get_secret_value()
        return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


class OAuthConfig(_Table):
    """Name the application that asks an identity provider for tokens."""

    client_id: Text
    client_secret: SecretStr | None = None
    issuer: Text | None = None
    tenant: Text | None = None
    authorization_url: Text | None = None
    token_url: Text | None = None
    scopes: tuple[Text, ...] = ()


class _Account(_Table):
    provider: Text | None = None
    host: Host
    tls: Tls = Tls.IMPLICIT
    allow_plaintext: bool = False
    ca_file: AbsolutePath | None = None
    pin_sha256: Fingerprint | None = None
    client_cert: AbsolutePath | None = None
    username: User = Field(repr=False)
    password: Annotated[SecretStr, Field(min_length=1)] | None = None
    password_file: AbsolutePath | None = None
    password_command: Command | None = None
    token_command: Command | None = None
    oauth: OAuthConfig | None = None

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> Self:
        given = [key for key in SECRETS if getattr(self, key) is not None]
        if len(given) > 1:
            raise PydanticCustomError("secrets", "{keys} exclude each other", {"keys": " and ".join(given)})
        if not given and self.client_cert is None:
            raise PydanticCustomError("secrets", "one of password, password_file, password_command is missing")
        return self


class ImapConfig(_Account):
    """Describe an account on an IMAP server."""

    type: Literal["imap"]
    port: Port = Field(default_factory=lambda given: 993 if given["tls"] is Tls.IMPLICIT else 143)
    mailboxes: Patterns = ("*",)
    delete: Literal["trash", "expunge"] | None = None
    poll_interval_s: PositiveSeconds = Field(default=300.0, alias="poll_interval")


def _keep(value: object) -> object:
    return None if value == "forever" else _duration(value)


class Pop3Config(_Account):
    """Describe an account on a POP3 server; its mailboxes live in the store."""

    type: Literal["pop3"]
    port: Port = Field(default_factory=lambda given: 995 if given["tls"] is Tls.IMPLICIT else 110)
    keep_s: Annotated[float | None, BeforeValidator(_keep)] = Field(default=0.0, alias="keep")
    """How long after its commit a message stays on the server; None: for ever."""
    poll_interval_s: PositiveSeconds = Field(default=120.0, alias="poll_interval")
    max_message_size_bytes: Bytes = Field(default=100 * 10**6, alias="max_message_size", gt=0)
    forward_to: Target | None = None


AccountConfig = Annotated[ImapConfig | Pop3Config, Discriminator("type")]


class DeviceConfig(_Table):
    """Describe a device: where its replicas are and what they select."""

    path: AbsolutePath
    accounts: tuple[str, ...] | None = None
    """Names of accounts; None: all."""
    mailboxes: Patterns = ("*",)
    layout: Layout = Layout.MAILDIRPP
    max_age_s: PositiveSeconds | None = Field(default=None, alias="max_age")
    max_size_bytes: Annotated[Bytes, Field(gt=0)] | None = Field(default=None, alias="max_size")
    read_only: bool = False
    link: bool = True
    settle_s: Seconds = Field(default=1.0, alias="settle")
    watch: Watch = Watch.AUTO


class GuardConfig(_Table):
    """Say how many deletions within a window are too many to be meant."""

    count: Annotated[int, Field(ge=1)] = 25
    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    window_s: PositiveSeconds = Field(default=600.0, alias="window")


class HooksConfig(_Table):
    """Name commands that run when something happened, and how long one may take."""

    on_new_mail: Command | None = None
    on_auth_error: Command | None = None
    on_hold: Command | None = None
    on_error: Command | None = None
    timeout_s: PositiveSeconds = Field(default=60.0, alias="timeout")

    @property
    def commands(self) -> Mapping[str, tuple[str, ...]]:
        """Return the commands that there are, by the key of their hook."""
        named = {key: getattr(self, key) for key in keys_of(HooksConfig) if key.startswith("on_")}
        return {key: command for key, command in named.items() if command is not None}


class DaemonConfig(_Table):
    """Say where the daemon listens and how it logs."""

    socket: AbsolutePath
    listen: Listen | None = None
    log_format: LogFormat = LogFormat.AUTO
    log_level: LogLevel = LogLevel.INFO

    @property
    def listen_at(self) -> tuple[str, int] | None:
        """Return host and port of `listen`."""
        if self.listen is None:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Config(_Table):
    """Hold one whole configuration."""

    store: StoreConfig
    accounts: dict[Name, AccountConfig] = Field(default_factory=dict)
    devices: dict[Name, DeviceConfig] = Field(default_factory=dict)
    guard: GuardConfig = GuardConfig()
    hooks: HooksConfig = HooksConfig()
    daemon: DaemonConfig

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
