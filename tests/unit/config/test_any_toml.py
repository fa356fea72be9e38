"""Whatever stands in the file, there is a configuration or a report."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.config.accounts import ImapConfig, Pop3Config
from syncd.config.model import DaemonConfig, DeviceConfig, GuardConfig, HooksConfig, StoreConfig
from syncd.config.problems import ConfigError
from syncd.config.table import keys_of
from tests.unit.config.builders import reading

CANARY = "tr0ub4dor"
TABLES = (ImapConfig, Pop3Config, DeviceConfig, StoreConfig, GuardConfig, HooksConfig, DaemonConfig)

HEADERS = """
[store] [accounts] [accounts.a] [accounts.b] [accounts.a.oauth] [accounts."?"] [[accounts]] [devices] [devices.a]
[devices.b] [[devices.a]] [guard] [hooks] [daemon] [x.y]
"""
VALUES = f"""
0|-1|1e400|nan|10000000000000000000000|true|1979-05-27|07:32:00|[]|{{}}|[[]]|""|"imap"|"pop3"|"none"|"1s"|"0d"|"/a"
"a/b"|"~"|"sqlite:///a"|"postgresql://["|"{CANARY}"|["{CANARY}"]|{{ a = "{CANARY}" }}
{{ type = "imap", password = "{CANARY}" }}
"""
headers = st.sampled_from(["", *HEADERS.split()])
keys = st.sampled_from(sorted({"a", "client_id", "stor", *(key for table in TABLES for key in keys_of(table))}))
values = st.sampled_from(VALUES.strip().replace("\n", "|").split("|"))
tables = st.tuples(headers, st.dictionaries(keys, values, max_size=5)).map(
    lambda table: "\n".join([table[0], *(f"{key} = {value}" for key, value in table[1].items())])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tables, max_size=4), st.dictionaries(keys, values, max_size=3))
def test_any_file_is_a_configuration_or_a_report_without_secrets(
    tmp_path: Path, parts: list[str], variables: dict[str, str]
) -> None:
    """No value of any type in any place makes the reader fail, and none is shown."""
    environ = {f"SYNCD_ACCOUNTS__A__{key.upper()}": value for key, value in variables.items()}
    try:
        reading(tmp_path, "\n".join(parts), environ)
    except ConfigError as error:
        report = error.problems
    else:
        return
    # Names of accounts are no secrets, and a wrong one is named.
    assert report
    assert all(CANARY not in str(problem) for problem in report if not problem.text.startswith("there is no account"))


@pytest.mark.parametrize("key", sorted({key for table in TABLES for key in keys_of(table)}))
def test_name_of_a_table_as_a_value_is_a_report(tmp_path: Path, key: str) -> None:
    """A key at the top of the file, where only tables are, is unknown or no table."""
    with pytest.raises(ConfigError):
        reading(tmp_path, f"{key} = 1")
