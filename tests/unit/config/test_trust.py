"""Keys that say whom to trust, and what is shown to a server: how they are written, and what excludes what."""

from pathlib import Path

import pytest

from tests.unit.config.builders import IMAP, LAPTOP, POP3, problems, reading

HEX = "5F1D" * 16
COLONS = ":".join(["5F", "1D"] * 16)


@pytest.mark.parametrize("written", [HEX, HEX.lower(), COLONS])
def test_fingerprint_is_taken_as_openssl_prints_it(tmp_path: Path, written: str) -> None:
    """With colons or without, in letters of either size."""
    config = reading(tmp_path, f'{IMAP}pin_sha256 = "{written}"\n{LAPTOP}').config

    assert config.accounts["work"].pin_sha256 == HEX.lower()


@pytest.mark.parametrize("written", ["", HEX[:-1], HEX + "00", "SHA256 Fingerprint=" + COLONS, "g" * 64])
def test_fingerprint_that_is_none_is_a_problem_with_its_line(tmp_path: Path, written: str) -> None:
    """What could match nothing is found before a server is asked."""
    (report,) = problems(tmp_path, f'{IMAP}pin_sha256 = "{written}"\n{LAPTOP}')

    assert report.startswith("syncd.toml:6: accounts.work.pin_sha256: should be a SHA-256 fingerprint: 64 hexadecimal")


@pytest.mark.parametrize("table", [IMAP, POP3])
@pytest.mark.parametrize(
    ("lines", "line", "report"),
    [
        ('tls = "none"\nallow_plaintext = true\npin_sha256 = "{pin}"', 8, 'pin_sha256: with tls = "none" the server'),
        ('tls = "none"\nallow_plaintext = true\nclient_cert = "a.pem"', 8, 'client_cert: with tls = "none" the server'),
        ('pin_sha256 = "{pin}"\nca_file = "ca.pem"', 7, "ca_file: pin_sha256 alone decides whom to trust: remove one"),
    ],
)
def test_what_contradicts_itself_is_a_problem(tmp_path: Path, table: str, lines: str, line: int, report: str) -> None:
    """Nobody believes to be protected by a key that does nothing."""
    (found,) = problems(tmp_path, f"{table}{lines.format(pin=HEX)}\n{LAPTOP}")

    assert found.startswith(f"syncd.toml:{line}: accounts.{'work' if table is IMAP else 'isp'}.{report}")


@pytest.mark.parametrize("table", [IMAP, POP3])
def test_certificate_is_a_way_to_log_in_alone_or_beside_a_password(tmp_path: Path, table: str) -> None:
    """Without a password it is the only one."""
    (both,) = reading(tmp_path, f'{table}client_cert = "ana.pem"\n{LAPTOP}').config.accounts.values()
    alone_text = "\n".join(line for line in table.splitlines() if not line.startswith("password"))
    (alone,) = reading(tmp_path, f'{alone_text}\nclient_cert = "ana.pem"\n{LAPTOP}').config.accounts.values()

    assert both.client_cert == alone.client_cert == tmp_path / "ana.pem"
    assert [one.has_only_certificate for one in (both, alone)] == [False, True]
