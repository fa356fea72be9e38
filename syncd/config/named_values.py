"""Floor 2: values by names that lead to keys, SYNCD_ACCOUNTS__WORK__PASSWORD, as the nested values of a file."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from syncd.config.model import Config


def nested_values(given: Mapping[str, str], *, prefix: str, separator: str) -> dict[str, Any]:
    """Return the values of the names that begin with `prefix`, in tables as `separator` divides the names."""
    return _NamedValues(given, prefix=prefix, separator=separator)()


class _Settings(Config, BaseSettings):  # type: ignore[misc]  # both say what model_config is; ours holds
    """Show pydantic-settings the shape of the configuration."""


class _NamedValues(EnvSettingsSource):
    """Read values from a given mapping, without guessing at their types."""

    def __init__(self, given: Mapping[str, str], *, prefix: str, separator: str) -> None:
        self._given = given
        super().__init__(_Settings, case_sensitive=False, env_prefix=prefix, env_nested_delimiter=separator)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): text for name, text in self._given.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        # NOTE: pydantic-settings would decode any JSON where it does not know the type: the password 12345 would
        # become a number, null nothing. A secret is never decoded; of the others only lists and tables are.
        if field_name in ("password", "client_secret") or not str(value).startswith(("[", "{")):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value
