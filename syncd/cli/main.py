"""Floor 6: the `syncd` command: one place where errors become exit codes, and a short way for what is run most often.

Typer reads what was typed (`app`), but not for a `syncd sync` that is plain: to load it and to make all commands is a
tenth of what a sync takes that finds nothing.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from syncd.cli import output
from syncd.cli.terminal import complain, say
from syncd.errors import StoreError, SyncdError, Temper

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; FAILED also where something is held, USAGE also for a configuration that cannot be used.

INTERRUPTED: by Ctrl-C, where nothing had to be wound up; shells and Typer use the same code.
"""

_GC_THRESHOLD = 200_000
"""Above what all modules together are made of."""


def main() -> None:
    """Run the command line, and exit with the code that says how it went."""
    gc.set_threshold(_GC_THRESHOLD)  # what is made next are modules, which stay: looking through them finds nothing
    # What others plug into pydantic has nothing to do here, and to look for it in all that is installed takes long.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

    from syncd.cli.configured import UnknownAccountError
    from syncd.config.problems import ConfigError

    output.prepare()
    try:
        _run()
    except ConfigError as error:
        for problem in error.problems:
            complain(str(problem))
        sys.exit(USAGE)
    except UnknownAccountError as error:
        complain(f"syncd: {error}")
        sys.exit(USAGE)
    except SyncdError as error:
        # NOTE: what a database says of its file names no file, and a damaged one no version helps against.
        is_broken = type(error) is StoreError and error.temper is Temper.GIVE_UP
        complain(f"syncd: {error}{'; syncd doctor says which, and what to do' if is_broken else ''}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        complain("Aborted.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        output.give_up()  # the reader (head, less) is gone, which is no news to anybody
        sys.exit(FAILED)
    except output.OutputError as error:
        output.give_up()
        complain(f"syncd: standard output cannot be written: {error}")
        sys.exit(FAILED)


def _run() -> None:
    try:
        command, *words = sys.argv[1:] or ("",)
        if command == "names":
            _print_names(words)
        elif command != "sync" or (is_complete := _sync_plainly(words)) is None:
            from syncd.cli.app import app

            app()
        else:
            output.end(DONE if is_complete else FAILED)
    finally:
        sys.stdout.flush()  # or the interpreter would, and say more of it than anybody wants to read
        gc.freeze()  # nor need it look once more for garbage in all the modules, which is half of its end


def _print_names(words: list[str]) -> None:
    from syncd.cli.names import names

    for name in names(words):
        say(name)


def _sync_plainly(words: Sequence[str]) -> bool | None:
    """Sync as the command does; None where what it was told takes more to read, or is wrong, and nothing was done."""
    from syncd.cli.commands.syncing import sync_accounts

    accounts, config = list(words), None
    if "--config" in words[:-1]:
        at = words.index("--config")
        config = Path(words[at + 1])
        del accounts[at : at + 2]
    return None if any(one.startswith("-") for one in accounts) else sync_accounts(accounts, config)
