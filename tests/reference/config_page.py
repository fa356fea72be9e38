"""syncd.toml(5): what the schema of the configuration says, for who reads instead of being told by an editor."""

import json
from collections.abc import Iterator

from tests.reference.roff import example, item, page, paragraph, section
from tests.reference.schema import Schema, config_schema, table_of

EXAMPLE = """\
[accounts.work]
type = "imap"
host = "imap.example.org"
username = "ana"
password_command = ["pass", "show", "mail/work"]
mailboxes = ["*", "!Junk"]

[accounts.isp]
type = "pop3"
host = "pop.example.net"
username = "ana"
password_file = "isp.password"

[devices.laptop]
path = "~/mail/laptop"

[devices.phone]
path = "/srv/mail/phone"
accounts = ["work"]
max_age = "90d"
"""

_NAMED = {"accounts": "accounts.NAME", "devices": "devices.NAME"}
_KINDS = {
    "boolean": "`true` or `false`",
    "integer": "*number*",
    "number": "*number*",
    "array": "*list*",
    "string": "*text*",
}


def config_page(version: str) -> str:
    """Return the page."""
    return page("syncd.toml", 5, of="File formats of syncd", version=version, body=_body(config_schema()))


def _body(schema: Schema) -> Iterator[str]:
    yield section("NAME")
    yield r"syncd.toml \- configuration of syncd" + "\n"
    yield section("DESCRIPTION")
    yield paragraph(
        "syncd reads one file of TOML: the one that `--config` names, else `$SYNCD_CONFIG`, else "
        "`/etc/syncd/syncd.toml`, else `$XDG_CONFIG_HOME/syncd/syncd.toml` (`~/.config/syncd/syncd.toml`). "
        "`syncd init` makes a first one, and `syncd check-config` names each problem with its line."
    )
    yield paragraph(
        "A running daemon notices that the file was edited. What changed counts at once, and nothing else is touched; "
        "a file with a problem changes nothing. Only `url` and `auto_migrate` of the store, and `socket` and `listen` "
        "of the daemon, count after a restart."
    )
    yield from _values()
    for key, value in schema["properties"].items():
        table = table_of(schema, key)
        if table["properties"]:
            yield section(f"[{_NAMED.get(key, key)}]")
            yield paragraph(value["description"])
            yield from (_key(name, of, table) for name, of in table["properties"].items())
    yield from _elsewhere()
    yield section("EXAMPLE")
    yield example(EXAMPLE)
    yield from _end()


def _values() -> Iterator[str]:
    yield section("VALUES")
    yield item("*duration*", "A text of a number and its unit: `250ms`, `1s`, `5m`, `12h`, `30d`, `2w`.")
    yield item("*size*", "The same for octets: `500kB`, `25MB`, `1GB` of powers of 1000, `1MiB`, `1GiB` of 1024.")
    yield item("*path*", "`~` is your home. What does not begin with `/` starts at the directory of the file.")
    yield item(
        "*command*",
        'A list of a program and its arguments, such as `["pass", "show", "mail/work"]`. No shell is between; where '
        'one is needed, it is named: `["sh", "-c", "..."]`.',
    )
    yield item(
        "*patterns*",
        "A list of names of mailboxes, in which `*` is any text and `?` one character. With `!` before it a pattern "
        "leaves out. Of those that match a name the last counts.",
    )


def _key(name: str, value: Schema, table: Schema) -> str:
    notes = [value["description"]]
    if name in table.get("required", ()):
        notes.append("It has to be there.")
    if "default" in value:
        notes.append(f"Default: `{_written(value['default'])}`.")
    if examples := value.get("examples"):
        noun = "Example" if len(examples) == 1 else "Examples"
        notes.append(f"{noun}: {', '.join(f'`{_written(one)}`' for one in examples)}.")
    only = _only(name, table)
    return item(f"`{name}` = {_kind(value)}{f' ({only.upper()} only)' if only else ''}", " ".join(notes))


def _only(name: str, table: Schema) -> str | None:
    """Return the type of the accounts that a key is for, None for one of all tables."""
    for rule in table.get("allOf", ()):
        if name in rule.get("else", {}).get("properties", ()):
            return "pop3"
        if "else" in rule and name in rule["then"]["properties"]:
            return "imap"
    return None


def _kind(value: Schema) -> str:
    if "enum" in value:
        return " or ".join(f"`{_written(one)}`" for one in value["enum"])
    return f"*{value['title']}*" if "title" in value else _KINDS.get(value.get("type", ""), "*value*")


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _elsewhere() -> Iterator[str]:
    yield section("ENVIRONMENT AND CREDENTIALS")
    yield paragraph("Each key can come from outside of the file, its parts joined by two underscores:")
    yield item("`SYNCD_ACCOUNTS__WORK__PASSWORD`", "A variable. Lists and tables are written as JSON.")
    yield item(
        "`syncd_accounts__work__password`",
        "A file of that name in `$CREDENTIALS_DIRECTORY`, where `LoadCredential=` of systemd puts it, or in "
        "`/run/secrets`, where containers have their secrets.",
    )
    yield paragraph("A variable overrides a credential, and both override the file.")


def _end() -> Iterator[str]:
    yield section("FILES")
    yield item("*PREFIX*`/share/syncd/syncd.example.toml`", "Every key there is, with comments.")
    yield item(
        "*PREFIX*`/share/syncd/syncd.toml.schema.json`",
        "A JSON schema of the file. An editor with taplo or Even Better TOML completes and checks a file that begins "
        "with the line `#:schema file:///usr/local/share/syncd/syncd.toml.schema.json`.",
    )
    yield section("SEE ALSO")
    yield r"\fBsyncd\fR(1)" + "\n"
