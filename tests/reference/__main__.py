"""`python -m tests.reference`: write what is made of the code; --check: exit code 1 if it would change."""

import argparse
import json
import sys
import tomllib
from pathlib import Path

from tests.reference.commands import program
from tests.reference.completions import bash, fish, zsh
from tests.reference.config_page import config_page
from tests.reference.program_page import program_page
from tests.reference.schema import config_schema

ROOT = Path(__file__).parents[2]
SHARE = ROOT / "deploy" / "share"
"""What is installed below PREFIX/share, as it is there."""


def made() -> dict[Path, str]:
    """Return the text of each file, by its place below SHARE."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return {
        Path("man/man1/syncd.1"): program_page(version),
        Path("man/man5/syncd.toml.5"): config_page(version),
        Path("bash-completion/completions/syncd"): bash(program()),
        Path("zsh/site-functions/_syncd"): zsh(program()),
        Path("fish/vendor_completions.d/syncd.fish"): fish(program()),
        Path("syncd/syncd.toml.schema.json"): json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def stale(files: dict[Path, str]) -> list[Path]:
    """Return what is not there as it would be made, or is there and would not."""
    there = {path.relative_to(SHARE): path.read_text("utf-8") for path in SHARE.rglob("*") if path.is_file()}
    return sorted(path for path in there.keys() | files.keys() if there.get(path) != files.get(path))


def main(arguments: list[str]) -> int:
    """Do what was asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=__doc__)
    parser.add_argument("--check", action="store_true")
    files = made()
    behind = stale(files)
    if parser.parse_args(arguments).check:
        for path in behind:
            print(f"{SHARE.relative_to(ROOT) / path} is not what the code says: make reference", file=sys.stderr)
        return bool(behind)
    for path in behind:
        if path in files:
            (SHARE / path).parent.mkdir(parents=True, exist_ok=True)
            (SHARE / path).write_text(files[path], "utf-8")
        else:
            (SHARE / path).unlink()
        print(f"{SHARE.relative_to(ROOT) / path}: {'written' if path in files else 'removed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
