"""The tabulator in real shells, with the scripts that are installed and the program that is installed."""

import os
import pty
import select
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pytest

from tests.servers.identity import ServerUnavailable
from tests.servers.shells import Shell, find_shell

SHARE = Path(__file__).parents[2] / "deploy" / "share"
ZSH, FISH = SHARE / "zsh/site-functions/_syncd", SHARE / "fish/vendor_completions.d/syncd.fish"
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
# The same for shells that name files themselves, and take an option apart from its value themselves.
TYPED = {
    line.replace(" = ", "="): {"other.toml", "syncd.toml"} if words == "files" else set(words.split())
    for line, words in OFFERED.items()
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
ZSH_DRIVER = r"""
autoload -Uz compinit
compinit -D -u
compadd() {
    [[ ${@[1,(i)(-|--)]} == *-[OAD]\ * ]] || {
        local -a found
        builtin compadd -A found "$@"
        offered+=("${found[@]}")
    }
    builtin compadd "$@"
}
offer() {
    offered=()
    zle list-choices
    print -rn -- $'\x01'"${(j: :)offered}"$'\x02'
    BUFFER=
}
zle -N offer
bindkey '^T' offer
print -r $'\x03'
"""


def test_bash_offers_what_can_be_typed(tmp_path: Path) -> None:
    """Commands, options, choices, and the names of accounts and devices, also of a file that has other problems."""
    configure(tmp_path)

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
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.stderr == ""
    return dict(line.split("|") for line in ended.stdout.splitlines())


def test_fish_offers_what_can_be_typed(tmp_path: Path) -> None:
    """The same as bash; it sorts, and shows an option together with its value."""
    fish, script = shell_or_skip("fish"), f"source {FISH}; while read -l line; complete -C $line; echo .; end"
    configure(tmp_path)

    ended = subprocess.run(
        [fish.program, "--no-config", "-c", script],
        input="".join(f"{line}\n" for line in TYPED),
        cwd=tmp_path,
        env=environment(tmp_path) | fish.environment,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert ended.stderr == ""
    blocks = ended.stdout.split(".\n")
    offered = [{word.partition("\t")[0].removeprefix("--device=") for word in block.splitlines()} for block in blocks]
    assert dict(zip(TYPED, offered, strict=False)) == TYPED


def test_zsh_offers_what_can_be_typed(tmp_path: Path) -> None:
    """The same as bash, in a terminal, as zsh completes nowhere else."""
    zsh = shell_or_skip("zsh")
    configure(tmp_path)
    (tmp_path / ".zsh").write_text(zsh_setup(zsh))
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(zsh.program, ["zsh", "-f", "-i"], environment(tmp_path) | zsh.environment | {"TERM": "dumb"})

    with os.fdopen(terminal, "r+b", buffering=0) as stream:
        stream.write(b"source ./.zsh\n")
        until(stream, b"\x03")
        offered = {}
        for line in TYPED:
            stream.write(line.encode() + b"\x14")
            until(stream, b"\x01")
            offered[line] = set(until(stream, b"\x02").decode().split())
        stream.write(b"exit\n")
    os.waitpid(child, 0)

    assert offered == TYPED


def zsh_setup(zsh: Shell) -> str:
    """Return what zsh reads first: control-T tells what it would offer, between two octets that nothing else prints."""
    places = f"fpath=({ZSH.parent} $fpath)\n"
    if zsh.root is not None:
        share, (modules,) = zsh.root / "usr/share/zsh/functions", (zsh.root / "usr/lib").glob("*-linux-*/zsh/*")
        places = f"module_path=({modules}); fpath=({ZSH.parent} {share} {share}/**/*(/N))\n"
    return places + ZSH_DRIVER


def until(stream: IO[bytes], mark: bytes) -> bytes:
    """Return what is said before an octet; AssertionError if it does not come in time."""
    said = b""
    while not said.endswith(mark):
        assert select.select([stream], [], [], 60)[0], f"nothing more than: {said!r}"
        said += stream.read(1)
    return said.removesuffix(mark)


def shell_or_skip(name: str) -> Shell:
    try:
        return find_shell(name)
    except ServerUnavailable as error:
        pytest.skip(f"{name} is not to be had, so nobody here can try its completion: {error}")


def configure(directory: Path) -> None:
    """Write two configurations."""
    (directory / "syncd.toml").write_text(CONFIG)
    (directory / "other.toml").write_text("[accounts.elsewhere]\n")


def environment(directory: Path) -> dict[str, str]:
    """Return that of a person who has syncd installed, and this configuration."""
    path = f"{sysconfig.get_path('scripts')}:/usr/bin:/bin"
    return {"PATH": path, "SYNCD_CONFIG": str(directory / "syncd.toml"), "HOME": str(directory)}
