"""Values on their way to a command."""

import json

import pytest

from syncd.daemon.people.answers_json import STATUS_JSON, encoded
from syncd.daemon.status.config_status import ConfigStatus
from tests.unit.cli.statuses import NOW, account, device, status

ODD = b'/etc/odd\xff"\\n/\xf0\x9f\x93\xac.toml'.decode("utf-8", "surrogateescape")
TOLD = '/etc/odd\\udcff"\\n/\U0001f4ec.toml'


@pytest.mark.parametrize("ensure_ascii", [False, True])
def test_path_that_is_no_utf8_is_told_with_its_octets_escaped(ensure_ascii: bool) -> None:
    """JSON has no place for such an octet, and one of them does not take away the rest."""
    seen = status(
        accounts=(account(error=ODD),),
        devices=(device(path=ODD),),
        config=ConfigStatus(NOW, path=ODD, problems=(f"{ODD}:3: x",)),
    )

    body = encoded(STATUS_JSON, seen, ensure_ascii=ensure_ascii)

    told = STATUS_JSON.validate_json(body)
    assert (told.config or ConfigStatus(0)).path == json.loads(body)["devices"][0]["path"] == TOLD
    assert (told.config or ConfigStatus(0)).problems == (f"{TOLD}:3: x",)
    assert told.accounts[0].news == seen.accounts[0].news


def test_what_json_can_hold_stays_as_it_is() -> None:
    """An escape that was there before is not one of ours."""
    seen = status(devices=(device(path=TOLD),))

    assert STATUS_JSON.validate_json(encoded(STATUS_JSON, seen)) == seen
    assert encoded(STATUS_JSON, seen, indent=2) == STATUS_JSON.dump_json(seen, indent=2)
