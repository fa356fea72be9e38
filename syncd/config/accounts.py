"""Floor 2: the tables `[accounts.NAME]`: where a server is, how to log in there, and what is done with its mail."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from syncd.config.providers import filled_in, with_type
from syncd.config.table import Table
from syncd.config.values import (
    AbsolutePath,
    Command,
    Fingerprint,
    Host,
    Keep,
    Patterns,
    Port,
    PositiveBytes,
    PositiveSeconds,
    ProviderName,
    Scope,
    SecureUrl,
    Target,
    Tenant,
    Text,
    User,
)

SECRETS = ("password", "password_file", "password_command", "token_command", "oauth")
"""The keys of an account of which one at most says how to log in."""


class Tls(StrEnum):
    """Say how a connection is encrypted."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class OAuthConfig(Table):
    """Name the application that asks an identity provider for tokens."""

    client_id: Text = Field(
        description="The name of the application at the provider, where you, or your organization, registered it.",
        examples=["00000000-1111-2222-3333-444444444444"],
    )
    client_secret: SecretStr | None = Field(
        default=None,
        description="What the provider gave the application as proof, where it gave something. It may be a credential "
        "file instead: `syncd_accounts__NAME__oauth__client_secret`.",
    )
    tenant: Tenant | None = Field(
        default=None,
        description="The organization, at Microsoft, where the application is for that one only. Default: `common`.",
        examples=["example.org"],
    )
    device_url: SecureUrl | None = Field(
        default=None,
        description="Where access is asked for that is granted in a browser anywhere, with a code (RFC 8628). "
        "`provider` fills in this and what follows, for `outlook` and, but for this, `gmail`.",
    )
    authorization_url: SecureUrl | None = Field(
        default=None, description="The page where access is granted, for a provider without `device_url`."
    )
    token_url: SecureUrl | None = Field(default=None, description="Where tokens are asked for, and renewed.")
    scopes: tuple[Scope, ...] = Field(
        default=(),
        description="What access is asked for: to mail, and to go on without you (often `offline_access`).",
    )


class _Account(Table):
    _KIND: ClassVar[str]

    provider: ProviderName | None = Field(
        default=None,
        description="A provider that is known, which fills in `host`, `port` and `tls` where they are not written.",
        examples=["gmail"],
    )
    host: Host = Field(
        description="The server, by its name or its address. It has to be there unless `provider` is.",
        examples=["mail.example.org"],
    )
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
        default=None,
        description="The SHA-256 fingerprint of the only certificate to trust, in hexadecimal digits, with or without "
        "colons. It alone decides: authorities, names and dates do not count, and a server that shows another one is "
        "told nothing, but has seen `client_cert`. Not together with `ca_file`.",
    )
    client_cert: AbsolutePath | None = Field(
        default=None,
        description="A file with a certificate and its key (PEM, without a passphrase), which the server is shown. "
        "Without a password it is the way to log in (SASL EXTERNAL).",
        examples=["work.pem"],
    )
    username: User = Field(
        repr=False, description="The name to log in with, often the whole address.", examples=["ana"]
    )
    password: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        default=None,
        description="The password itself. The file should be readable by nobody else then. At most one of `password`, "
        "`password_file`, `password_command`, `token_command` and `oauth` may be there; without any, `client_cert` is "
        "needed.",
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
        default=None,
        description="A command, with its arguments, that prints a token of OAuth as its first line, instead of a "
        "password: mutt_oauth2.py, oama, pizauth and others do. It is run like `password_command`, anew at each login.",
        examples=[["mutt_oauth2.py", "/var/lib/syncd/work.tokens"]],
    )
    oauth: OAuthConfig | None = Field(
        default=None,
        description="The application by which tokens of OAuth are asked for, after `syncd auth login NAME`.",
        examples=[{"client_id": "00000000-1111-2222-3333-444444444444"}],
    )

    @model_validator(mode="after")
    def _at_most_one_way_to_log_in(self) -> Self:
        given = [key for key in SECRETS if getattr(self, key) is not None]
        if len(given) > 1:
            raise PydanticCustomError("secrets", "{keys} exclude each other", {"keys": " and ".join(given)})
        return self

    @model_validator(mode="before")
    @classmethod
    def _with_server_of_provider(cls, written: Any) -> Any:
        return filled_in(written, cls._KIND)

    @field_validator("provider")
    @classmethod
    def _has_such_servers(cls, name: str | None) -> str | None:
        return None if name is None else with_type(name, cls._KIND)

    @property
    def login_key(self) -> str:
        """The key that says how to log in."""
        given = next((key for key in SECRETS if getattr(self, key) is not None), None)
        return given or ("client_cert" if self.client_cert is not None else "password")

    @property
    def can_log_in(self) -> bool:
        """Whether anything is said to log in with."""
        return self.client_cert is not None or any(getattr(self, key) is not None for key in SECRETS)

    @property
    def has_password(self) -> bool:
        """Whether a password is said, or where it is from."""
        return any(value is not None for value in (self.password, self.password_file, self.password_command))

    @property
    def has_only_certificate(self) -> bool:
        """Whether nothing but a certificate tells the server who we are."""
        return self.client_cert is not None and all(getattr(self, key) is None for key in SECRETS)


_PORT = "The port of the server. Default: 993 with IMAP, 995 with POP3; 143 and 110 unless `tls` is `implicit`."
_POLL_INTERVAL = (
    "How often the server is asked for what it does not tell by itself. Default: `5m` with IMAP, `2m` with POP3."
)


class ImapConfig(_Account):
    """Describe an account on an IMAP server."""

    _KIND = "imap"

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
    max_connections: int = Field(
        default=2,
        ge=1,
        description="How many connections syncd may have at a time. With a second one the server tells of all "
        "mailboxes at once, if it has NOTIFY; with `1` it tells of INBOX, and the others are polled. "
        "There are never more than two.",
        examples=[1],
    )


class Pop3Config(_Account):
    """Describe an account on a POP3 server; its mailboxes live in the store."""

    _KIND = "pop3"

    type: Literal["pop3"] = Field(description="What the server speaks, `imap` or `pop3`.")
    port: Port = Field(
        default_factory=lambda given: 995 if given["tls"] is Tls.IMPLICIT else 110,
        description=_PORT,
    )
    keep_s: Keep = Field(
        default=0.0,
        alias="keep",
        description="How long a message stays on the server once it is safe in the store: `0d` deletes it there at "
        "once, `forever` never. What devices do to it changes nothing on the server meanwhile.",
        examples=["0d", "14d", "forever"],
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

    @property
    def keeps(self) -> bool:
        """Tell whether anything is to stay on the server that is safe in the store."""
        return self.keep_s is None or self.keep_s > 0


AccountConfig = Annotated[ImapConfig | Pop3Config, Discriminator("type")]
