"""What a configuration names and is not there."""

from pathlib import Path

from syncd.config.absences import absences
from tests.unit.config.builders import IMAP, LAPTOP, POP3, reading


def test_programs_and_password_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    """A slip in a name is told when it is checked, and not when the first mail comes."""
    there = tmp_path / "password"
    there.write_text("x\n")
    text = (
        IMAP.replace('password = "correct horse"', 'password_command = ["nosuchpass", "show"]')
        + IMAP.replace("work", "home")
        .replace("imap.", "home.")
        .replace('password = "correct horse"', 'password_file = "gone"')
        + IMAP.replace("work", "well")
        .replace("imap.", "well.")
        .replace('password = "correct horse"', f'password_file = "{there}"')
        + IMAP.replace("work", "unit")
        .replace("imap.", "unit.")
        .replace('password = "correct horse"', 'password_file = "/run/secrets/x"')
        + POP3
        + 'client_cert = "gone.pem"\n'
        + IMAP.replace("work", "token")
        .replace("imap.", "token.")
        .replace('password = "correct horse"', 'token_command = ["nosuchtool", "work"]')
        + LAPTOP
        + '[hooks]\non_new_mail = ["true"]\non_hold = ["/nonexistent/tell-me"]\n'
    )

    assert dict(absences(reading(tmp_path, text).config)) == {
        ("accounts", "work", "password_command"): "there is no program nosuchpass, or it may not be run",
        ("accounts", "token", "token_command"): "there is no program nosuchtool, or it may not be run",
        ("accounts", "home", "password_file"): f"there is no file {tmp_path}/gone, or it may not be read",
        ("accounts", "isp", "client_cert"): f"there is no file {tmp_path}/gone.pem, or it may not be read",
        ("hooks", "on_hold"): "there is no program /nonexistent/tell-me, or it may not be run",
    }
