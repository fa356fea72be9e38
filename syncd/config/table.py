"""Floor 2: what every table of the configuration is: frozen values under keys that the file must spell right."""

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """Refuse keys that are not known, and show no value in an error: it may be a secret.

    Deferred: what validates a table is made once for the whole configuration, and not of each table as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


def keys_of(table: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a table as the file spells them."""
    return tuple(field.alias or name for name, field in table.model_fields.items())
