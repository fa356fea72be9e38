"""syncd(1): every command as its own help has it, and what is true of all of them."""

from collections import Counter
from collections.abc import Collection, Iterator

from tests.reference.commands import HELP, Command, Option, all_of, program
from tests.reference.roff import example, indented, item, page, paragraph, section


def program_page(version: str) -> str:
    """Return the page."""
    return page("syncd", 1, of="User commands", version=version, body=_body(program()))


def _body(syncd: Command) -> Iterator[str]:
    yield section("NAME")
    yield r"syncd \- mail sync daemon" + "\n"
    yield section("SYNOPSIS")
    yield paragraph("`syncd` *COMMAND* [*OPTION*]... [*ARGUMENT*]...")
    yield section("DESCRIPTION")
    yield paragraph(
        "syncd keeps the mail of accounts the same on their servers and on all devices: each message is downloaded "
        "once, every device has a Maildir that any mail program can open, and what one changes is so on all. Accounts "
        "are IMAP or POP3."
    )
    yield paragraph(
        "`syncd run` is the daemon. The other commands ask it if it runs. Else those that show read the store, and "
        "those that change take the store themselves or say that the daemon is needed. A first configuration is made "
        "by `syncd init`; syncd.toml(5) explains it."
    )
    yield section("COMMANDS")
    commands = [one for one in all_of(syncd) if one.words and not one.needs_command]
    counts = Counter(option for one in commands for option in one.options)
    everywhere = [option for option, count in counts.items() if count > len(commands) / 2]
    yield from (_command(one, everywhere) for one in commands)
    yield section("OPTIONS")
    yield paragraph("Every command that reads the configuration has `--config`, and all have `--help`.")
    yield from (_option(option) for option in everywhere)
    yield from (_option(option) for option in syncd.options if option is not HELP)
    yield from _surroundings()


def _command(command: Command, everywhere: Collection[Option]) -> str:
    own = [option for option in command.options if option not in everywhere]
    synopsis = [f"`syncd {' '.join(command.words)}`", *(f"[{_synopsis(option)}]" for option in own)]
    synopsis += [f"*{one.word}*".join(one.shown.split(one.word)) for one in command.arguments]
    explained = [item(f"*{one.word}*", one.help) for one in command.arguments if one.help]
    explained += [_option(option) for option in own]
    return item(" ".join(synopsis), *_paragraphs(command.help)) + (indented(explained) if explained else "")


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _synopsis(option: Option) -> str:
    return f"`{option.names[0]}`" + (f"\u00a0{_value(option)}" if option.value else "")


def _option(option: Option) -> str:
    default = f" Default: `{option.default}`." if option.default else ""
    value = f" {_value(option)}" if option.value else ""
    return item(", ".join(f"`{name}`" for name in option.names) + value, option.help + default)


def _value(option: Option) -> str:
    return "|".join(f"`{one}`" for one in option.choices) or f"*{option.value}*"


def _surroundings() -> Iterator[str]:
    yield section("EXIT STATUS")
    yield item("`0`", "Done.")
    yield item("`1`", "Something failed, or is held until a person has looked.")
    yield item("`2`", "The command line is wrong, or the configuration cannot be used. Nothing was done.")
    yield item("`130`", "Interrupted, before there was anything to be ended in an orderly way.")
    yield section("SIGNALS")
    yield item(
        "`SIGTERM`, `SIGINT`", "`syncd run` ends in an orderly way. `syncd sync` ends, and goes on there next time."
    )
    yield item("`SIGHUP`", "`syncd run` reads its configuration again, like `syncd reload`, and passwords in files.")
    yield paragraph("After `SIGKILL`, or a power cut, nothing has to be repaired.")
    yield section("ENVIRONMENT")
    yield item("`SYNCD_CONFIG`", "The configuration, where `--config` names none.")
    yield item("`SYNCD_`*TABLE*`__`*KEY*", "A value of the configuration; syncd.toml(5).")
    yield item(
        "`SYNCD_WIRE_TRACE`",
        "Names of accounts with commas between them, or `*`: what is said to their servers is logged, at level debug, "
        "without passwords and mail.",
    )
    yield item("`XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `XDG_RUNTIME_DIR`", "Where configuration, store and socket are.")
    yield item(
        "`STATE_DIRECTORY`, `RUNTIME_DIRECTORY`, `CREDENTIALS_DIRECTORY`", "The same, and passwords, by systemd."
    )
    yield item("`NOTIFY_SOCKET`, `WATCHDOG_USEC`", "How systemd is told that the daemon is ready, and well.")
    yield section("FILES")
    yield item(
        "`/etc/syncd/syncd.toml`, `~/.config/syncd/syncd.toml`", "The configuration, the first that can be read."
    )
    yield item("`~/.local/state/syncd/syncd.db`", "The store, unless the configuration says otherwise.")
    yield item("`$XDG_RUNTIME_DIR/syncd/syncd.sock`", "The socket of the daemon, unless it says otherwise.")
    yield item("*DEVICE*`/.syncd`", "The marker by which a device is known. Without it a device is left alone.")
    yield section("EXAMPLES")
    yield paragraph("From nothing to mail that is kept in sync:")
    yield example("syncd init\nsyncd sync\nsyncd run")
    yield paragraph("What was deleted today, and one message of it back:")
    yield example("syncd restore -n --since 24h\nsyncd restore 42")
    yield section("SEE ALSO")
    yield r"\fBsyncd.toml\fR(5), \fBsystemctl\fR(1), \fBjournalctl\fR(1)" + "\n"
