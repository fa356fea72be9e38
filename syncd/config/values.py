"""Floor 2: the types of single values: how each is written, what is read from it, and its shape in a JSON schema."""

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from syncd.config.amounts import DURATION, SIZE, parse_duration, parse_size
from syncd.config.providers import PROVIDERS, known_provider
from syncd.values import Value

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgresql+psycopg://")


class Written(Value):
    """Give a value that is written as a text its shape in a JSON schema: a name for its kind, and a pattern."""

    kind: str
    pattern: str = ""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        shape = {"type": "string", "title": self.kind}
        return shape | ({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})


class Like(Value):
    """Let a text pass that has a pattern as a whole; else the report says what it should be.

    The pattern means the same to Python and to the ECMAScript of JSON schemas.
    """

    pattern: str
    what: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^(?:{self.pattern})$"}

    def _checked(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"should be {self.what}")
        return text


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


def _keep(value: object) -> object:
    return None if value == "forever" else _duration(value)


def _has_port(listen: str) -> str:
    if not 1 <= int(listen.rpartition(":")[2]) <= 65535:
        raise ValueError("should have a port between 1 and 65535")
    return listen


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


_MORE_THAN_NONE = "(?=.*[1-9])"

Name = Annotated[str, Like(r"[a-z0-9_-]{1,64}", 'a name of "a" to "z", "0" to "9", "_" and "-"')]
Text = Annotated[str, Like(r"[^\x00]+", "a text that is not empty")]
Host = Annotated[
    str,
    Like(
        r"(?!\.|.*\.\.|[^:]*:[0-9]*$|\[.*\]:)[^\s/@\x00-\x1f\x7f]{1,255}",
        'a host name or an address; the port goes into "port"',
    ),
]
User = Annotated[str, Like(r"[^\x00-\x1f\x7f]+", "a text of one line that is not empty")]
Port = Annotated[int, Field(ge=1, le=65535)]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute), Written("path", r"[^\x00]+")]
Seconds = Annotated[float, BeforeValidator(_duration), Written("duration", DURATION)]
PositiveSeconds = Annotated[
    float, BeforeValidator(_duration), Field(gt=0), Written("duration", f"{_MORE_THAN_NONE}{DURATION}")
]
PositiveBytes = Annotated[int, BeforeValidator(_size), Field(gt=0), Written("size", f"{_MORE_THAN_NONE}{SIZE}")]
Keep = Annotated[float | None, BeforeValidator(_keep), Written("duration", f"forever|{DURATION}")]
Command = Annotated[tuple[Text, ...], Field(min_length=1, title="command")]
Pattern = Annotated[str, Like(r"[^!\x00][^\x00]*|![^\x00]+", "a pattern that is not empty")]
Patterns = Annotated[tuple[Pattern, ...], Field(title="patterns")]
ProviderName = Annotated[
    str, AfterValidator(known_provider), WithJsonSchema({"type": "string", "enum": list(PROVIDERS)})
]
Fingerprint = Annotated[
    str,
    Like(
        r"([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}",
        "a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons",
    ),
    AfterValidator(lambda written: written.replace(":", "").lower()),
]
Listen = Annotated[
    str,
    Like(r"(\[[0-9a-fA-F:.]+\]|[^\s:]+):[0-9]{1,5}", 'an address with a port, "127.0.0.1:9464"'),
    AfterValidator(_has_port),
]
SecureUrl = Annotated[
    str, Like(r"https://[^\x00-\x20\x7f/?#@]+(?:[/?][^\x00-\x20\x7f#]*)?", "an address that begins with https://")
]
Scope = Annotated[str, Like(r"[!#-\[\]-~]+", "a word without spaces")]
"""RFC 6749 §3.3."""
Tenant = Annotated[str, Like(r"[A-Za-z0-9.-]+", "a domain or a number of an organization")]
Target = Annotated[str, Like(r"[a-z0-9_-]+/[^\x00]+", 'an account and a mailbox, "work/INBOX"')]
StoreUrl = Annotated[
    SecretStr,
    AfterValidator(_store_url),
    Written("URL", r"sqlite:///(?!:memory:)[^?\x00]+|postgresql(\+psycopg)?://[^/]*/.*[^/].*"),
]
