"""The JSON schema of the configuration, for editors: what the models say of each key, as a file has it.

The schema is of one file, the models are of what all sources say together. So it asks for less: the places of store and
socket have defaults, and a password may come from elsewhere. A key that this version refuses is not in it.
"""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from syncd.config.accounts import SECRETS, ImapConfig, Pop3Config
from syncd.config.availability import NOT_YET
from syncd.config.model import Config, DeviceConfig, table_at
from syncd.config.sources import default_values

Schema = dict[str, Any]

_ACCOUNT = "AccountConfig"
_UNITS = {
    "duration": (("d", 86400), ("h", 3600), ("m", 60), ("s", 1), ("ms", 0.001)),
    "size": (("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1)),
}


def config_schema() -> Schema:
    """Return the schema, a JSON Schema of 2020-12."""
    whole = Config.model_json_schema(schema_generator=_WithoutTitles)
    kinds: dict[str, Schema] = whole.pop("$defs")
    tables = {name: kind for name, kind in kinds.items() if "properties" in kind}
    for table in (whole, *tables.values()):
        del table["description"], table["title"]  # which are for who reads the code
        table["properties"] = {key: _of_file(value, kinds) for key, value in table["properties"].items()}
        if silent := [key for key, value in table["properties"].items() if "description" not in value]:
            raise ValueError(f"a person is not told what these keys mean: {', '.join(silent)} (Field(description=...))")
    _leave_out_unavailable(tables)
    _require_no_places(whole, tables)
    tables[_ACCOUNT] = _account(tables.pop(ImapConfig.__name__), tables.pop(Pop3Config.__name__))
    for key, name in (("accounts", _ACCOUNT), ("devices", DeviceConfig.__name__)):
        whole["properties"][key] = _by_name(whole["properties"][key], name)
    head = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "syncd.toml",
        "description": "How syncd is configured.",
    }
    used = str([whole, tables])
    return head | whole | {"$defs": {name: table for name, table in tables.items() if repr(_ref(name)) in used}}


def table_of(schema: Schema, key: str) -> Schema:
    """Return the table below a key of the file, for accounts and devices that of each."""
    value = schema["properties"][key]
    ref: str = value.get("additionalProperties", value)["$ref"]
    table: Schema = schema["$defs"][ref.removeprefix(_ref(""))]
    return table


class _WithoutTitles(GenerateJsonSchema):
    """Leave out titles that repeat a key: those that remain name the kind of a value."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _ref(name: str) -> str:
    return f"#/$defs/{name}"


def _of_file(value: Schema, kinds: dict[str, Schema]) -> Schema:
    """Return what a key may be in a file: TOML has no null, enumerations need no name, amounts have their units."""
    for one in value.pop("anyOf", ()):
        value |= one if one != {"type": "null"} else {}
    enumeration = kinds.get(str(value.get("$ref")).removeprefix(_ref("")), {})
    if "enum" in enumeration:
        del value["$ref"]
        value["enum"] = enumeration["enum"]
    for said_by_pydantic_only in ("format", "writeOnly"):
        value.pop(said_by_pydantic_only, None)
    default = value.pop("default", None)
    if default is None or isinstance(default, dict):
        return value
    return value | {"default": _amount(default, value["title"]) if value.get("title") in _UNITS else default}


def _amount(number: float, kind: str) -> str:
    """Return a duration or a size as people write it, in the largest unit that leaves no fraction."""
    return next(f"{round(number / size)}{unit}" for unit, size in _UNITS[kind] if number % size == 0)


def _leave_out_unavailable(tables: dict[str, Schema]) -> None:
    for *table, key in NOT_YET:
        for model in table_at(tuple(table), {}):
            tables[model.__name__]["properties"].pop(key, None)


def _require_no_places(whole: Schema, tables: dict[str, Schema]) -> None:
    places = default_values({"HOME": "/"})
    del whole["required"]
    for key, values in places.items():
        table = tables[whole["properties"][key]["$ref"].removeprefix(_ref(""))]
        table["required"] = [one for one in table["required"] if one not in values]


def _account(imap: Schema, pop3: Schema) -> Schema:
    """Return the table of an account of either type.

    It is one, and not two of which one must fit, so that an editor marks the key that is wrong and not the account.
    """
    of_imap, of_pop3 = imap["properties"], pop3["properties"]
    properties: Schema = {}
    for key in ("type", *imap["required"], *of_imap, *of_pop3):
        one, other = of_imap.get(key, of_pop3.get(key)), of_pop3.get(key, of_imap.get(key))
        properties[key] = {word: meaning for word, meaning in one.items() if other.get(word) == meaning}
    properties["type"]["enum"] = [of["type"]["const"] for of in (of_imap, of_pop3)]
    ways = [key for key in SECRETS if key in properties]
    is_pop3 = {"properties": {"type": {"const": "pop3"}}}
    rules: list[Schema] = [
        {"if": {"not": {"required": ["provider"]}}, "then": {"required": ["host"]}},
        {"if": is_pop3, "then": _without(of_imap.keys() - of_pop3), "else": _without(of_pop3.keys() - of_imap)},
        *({"if": {"required": [way]}, "then": _without({*ways} - {way})} for way in ways),
    ]
    required = [key for key in imap["required"] if key != "host"]
    return imap | {"properties": properties, "required": required, "allOf": rules}


def _without(keys: Iterable[str]) -> Schema:
    return {"properties": dict.fromkeys(sorted(keys), False)}


def _by_name(tables: Schema, kind: str) -> Schema:
    """Return tables of one kind with names of one pattern, in words that editors understand."""
    (pattern,) = tables.pop("patternProperties")
    return tables | {"propertyNames": {"pattern": pattern}, "additionalProperties": {"$ref": _ref(kind)}}
