"""The tabulator in a real bash, with the script that is installed and the program that is installed."""

import shutil
import subprocess
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pytest

SHARE = Path(__file__).parents[2] / "deploy" / "share"
CONFIG = "[accounts.work]\nhost = 1\n[accounts.isp]\n[devices.laptop]\n[devices]\nphone = {}\n"
OFFERED = {
    "syncd rel": "reload",
    "syncd --v": "--version",
    "syncd sync work ": "work isp",
    "syncd sync --config other.toml ": "elsewhere",
    "syncd sync --config = nowhere.toml ": "",
    "syncd history --device = p": "phone",
    "syncd history --since ": "",
    "syncd history --account sync --d": "--device",
    "syncd purge --account ": "",
    "syncd purge --device ": "",
    "syncd account rename ": "",
    "syncd holds ": "show release discard",
    "syncd holds release --a": "--all",
    "syncd init --type ": "imap pop3",
    "syncd init --account ": "",
    "syncd check-config --config ": "files",
    "syncd backup ": "files",
}
# What bash does at the tabulator, but that compopt knows no completion to change.
DRIVER = """
source "$1"
compopt() { COMPREPLY=(files); }
while IFS= read -r line; do
    read -ra COMP_WORDS <<<"$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    read -ra complete <<<"$(complete -p syncd)"
    "${complete[2]}" syncd
    echo "$line|${COMPREPLY[*]}"
done
"""


def test_bash_offers_what_can_be_typed(tmp_path: Path) -> None:
    """Commands, options, choices, and the names of accounts and devices, also of a file that has other problems."""
    (tmp_path / "syncd.toml").write_text(CONFIG)
    (tmp_path / "other.toml").write_text("[accounts.elsewhere]\n")

    assert completed(OFFERED, tmp_path) == OFFERED


def test_bash_runs_nothing_of_what_the_configuration_holds(tmp_path: Path) -> None:
    """A key that is no name of the contract is not offered, and nobody expands it, nor what is in the directory."""
    keys = ["$(touch ran)", "`touch ran`", "a; touch ran", "*", "${HOME}", "Work", "a" * 65, "work"]
    (tmp_path / "syncd.toml").write_text("".join(f'[accounts."{key}"]\n' for key in keys))

    offered = completed(["syncd sync "], tmp_path)

    assert offered == {"syncd sync ": "work"}
    assert not (tmp_path / "ran").exists()


def test_bash_runs_nothing_of_what_a_program_calls_names(tmp_path: Path) -> None:
    """The script itself offers words as they are, so that it does not rest on what `syncd names` lets through."""
    said = tmp_path / "said"
    said.write_text("#!/bin/sh\nprintf '%s\\n' '$(touch${IFS}ran)' '*' work\n")
    said.chmod(0o700)

    offered = completed([f"{said} sync "], tmp_path)

    assert list(offered.values()) == ["$(touch${IFS}ran) * work"]
    assert not (tmp_path / "ran").exists()


def completed(lines: Iterable[str], directory: Path) -> dict[str, str]:
    """Return what bash offers behind each line, in this directory, which has the configuration too."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed, so nobody here can try its completion")
    ended = subprocess.run(
        ["bash", "--norc", "-c", DRIVER, "bash", str(SHARE / "bash-completion/completions/syncd")],
        input="".join(f"{line}\n" for line in lines),
        cwd=directory,
        env={
            "PATH": f"{sysconfig.get_path('scripts')}:/usr/bin:/bin",
            "SYNCD_CONFIG": str(directory / "syncd.toml"),
            "HOME": str(directory),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.stderr == ""
    return dict(line.split("|") for line in ended.stdout.splitlines())


@pytest.mark.parametrize(
    ("shell", "script"), [("zsh", "zsh/site-functions/_syncd"), ("fish", "fish/vendor_completions.d/syncd.fish")]
)
def test_script_of_another_shell_is_understood_by_it(shell: str, script: str) -> None:
    """What is made for it is at least its language."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed, so nobody here can read its completion")

    ended = subprocess.run([shell, "-n", str(SHARE / script)], capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stderr) == (0, "")
