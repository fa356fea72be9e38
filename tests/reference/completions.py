"""What shells offer at the tabulator: commands, options and choices, written down so that the shell itself knows them.

Only names of accounts and devices are asked for, from `syncd names`, which reads the configuration and nothing else.
"""

from collections.abc import Iterable, Iterator

from tests.reference.commands import Command, Option, all_of

_NAMES = {"ACCOUNT": "accounts", "NEW": "accounts", "DEVICE": "devices"}
_FILES = ("PATH", "FILE", "DIRECTORY")
_HEAD = '# Completion of syncd(1) in {}. Made by "make reference" of what the program says.\n'

_BASH = """
_syncd() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} at=syncd word words= i
    local IFS=$' \\t\\n'
    local -a config=() offered=()
    # An option and its value may be three words: --config = PATH.
    [[ $prev == = ]] && prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    [[ $cur == = ]] && cur=
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case $word in
            {valued})
                [[ ${{COMP_WORDS[i + 1]}} == = ]] && ((i++))
                ((i++))
                [[ $word == --config ]] && config=(--config "${{COMP_WORDS[i]/#\\~/$HOME}}")
                ;;
            *)
                case "$at $word" in
                    {paths}) at+=" $word" ;;
                esac
                ;;
        esac
    done
    case "$at $prev" in
{values}
        *) _syncd_"$([[ $cur == -* ]] && echo options || echo operands)" ;;
    esac
    case $words in
        @files) COMPREPLY=() && compopt -o default && return ;;
        @*) words=$("${{COMP_WORDS[0]/#\\~/$HOME}}" names "${{words#@}}" "${{config[@]}}" 2>/dev/null) ;;
    esac
    # NOTE: compgen -W would expand them as the shell does, and so run what somebody wrote as a name.
    read -r -d "" -a offered <<<"$words"
    COMPREPLY=()
    for word in "${{offered[@]}}"; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("$word")
    done
}}

_syncd_options() {{
    case $at in
{options}
    esac
}}

_syncd_operands() {{
    case $at in
{operands}
    esac
}}

complete -F _syncd syncd
"""


def bash(syncd: Command) -> str:
    """Return the script for bash-completion, which needs nothing of it but to be found by it."""
    commands = list(all_of(syncd))
    return _HEAD.format("bash") + _BASH.format(
        valued=" | ".join(
            sorted({name for one in commands for option in one.options if option.value for name in option.names})
        ),
        paths=_patterns(f"syncd {' '.join(one.words)}" for one in commands if one.words),
        values="\n".join(_bash_values(commands)),
        options="\n".join(
            _bash_case(one, " ".join(name for option in one.options for name in option.names)) for one in commands
        ),
        operands="\n".join(_bash_case(one, offer) for one in commands if (offer := _operands(one))),
    )


def _patterns(texts: Iterable[str]) -> str:
    return " | ".join(f'"{text}"' for text in texts)


def _bash_case(command: Command, words: str) -> str:
    return f'        "{" ".join(("syncd", *command.words))}") words="{words}" ;;'


def _bash_values(commands: list[Command]) -> Iterator[str]:
    """Yield what is offered behind options: for all commands at once, but for those that mean something else by one."""
    offers: dict[str, list[tuple[str, str]]] = {}
    for command in commands:
        for option in command.options:
            for name in option.names if option.value else ():
                offers.setdefault(name, []).append((" ".join(("syncd", *command.words)), _values(option)))
    for name, asked in offers.items():
        usual = asked[0][1]
        yield from (f'        "{path} {name}") words="{offer}" ;;' for path, offer in asked if offer != usual)
        yield f'        *" {name}") words="{usual}" ;;'


def _values(option: Option) -> str:
    return " ".join(option.choices) or _named(option.value)


def _operands(command: Command) -> str:
    if command.commands:
        return " ".join(one.name for one in command.commands)
    # Of several each may mean something else, and only zsh says which of them is being typed.
    return _named(command.arguments[0].word) if len(command.arguments) == 1 else ""


def _named(word: str) -> str:
    """Return what is offered for a word that stands for a value: names to ask for, files, nothing."""
    return f"@{_NAMES[word]}" if word in _NAMES else "@files" if word in _FILES else ""


_ZSH_NAMES = """
# The last argument says which names; those before it are for compadd.
_syncd_names() {
    local -a config=(${(M)words:#--config=*}) names
    local at=${words[(I)--config]}
    ((at)) && config=(--config ${${(Q)words[at + 1]}/#\\~/$HOME})
    # NOTE: _call_program evaluates its arguments once more.
    names=(${(f)"$(_call_program names syncd names ${@[-1]} ${(q)config})"})
    compadd "${@[1,-2]}" -a names
}
"""


def zsh(syncd: Command) -> str:
    """Return the function that zsh loads when it is needed."""
    functions = "".join(_zsh_function(one) for one in all_of(syncd))
    return f'#compdef syncd\n{_HEAD.format("zsh")}{_ZSH_NAMES}{functions}\n_syncd "$@"\n'


def _zsh_function(command: Command) -> str:
    name = "_".join(("", "syncd", *command.words))
    specs = [_zsh_option(option) for option in command.options]
    if not command.commands:
        specs += [
            _quoted(f"{'*' if one.is_repeated else at}:{one.word}:{_zsh_action(_named(one.word))}")
            for at, one in enumerate(command.arguments, 1)
        ]
        return f"\n{name}() {{\n    _arguments \\\n        {_lines(specs)}\n}}\n"
    specs += ["'1: :->command'", "'*:: :->rest'"]
    described = _lines([_quoted(f"{one.name}:{one.summary}") for one in command.commands]).replace(" \\", "")
    return (
        f"\n{name}() {{\n    local curcontext=$curcontext state line ret=1\n    typeset -A opt_args\n"
        f"    local -a commands=(\n        {described}\n    )\n"
        f"    _arguments -C \\\n        {_lines(specs)} && ret=0\n"
        "    case $state in\n"
        "        command) _describe command commands && ret=0 ;;\n"
        f"        rest) (($+functions[{name}_$words[1]])) && {name}_$words[1] && ret=0 ;;\n"
        "    esac\n    return ret\n}\n"
    )


def _lines(parts: list[str]) -> str:
    return " \\\n        ".join(parts)


def _zsh_option(option: Option) -> str:
    said = option.help.removesuffix(".").replace("[", r"\[").replace("]", r"\]")
    value = f":{option.value}:{_zsh_action(_values(option))}" if option.value else ""
    together = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    return " ".join(_quoted(f"{together}{name}{'=' if value else ''}[{said}]{value}") for name in option.names)


def _zsh_action(offer: str) -> str:
    if offer == "@files":
        return "_files"
    return f"_syncd_names {offer[1:]}" if offer.startswith("@") else f"({offer})" if offer else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


_FISH = """
set -g __syncd_commands {commands}

# Whether this is the command that the words before the cursor name.
function __syncd_at
    set -l at
    for word in (commandline -opc)[2..-1]
        contains -- "$at $word" $__syncd_commands; and set at "$at $word"
    end
    test "$at" = "$argv"
end

function __syncd_names
    set -l words (commandline -opc)
    set -l config (string match -- '--config=*' $words)
    if set -l at (contains -i -- --config $words)
        set config --config (string replace -r '^~' $HOME -- $words[(math $at + 1)])
    end
    $words[1] names $argv $config 2>/dev/null
end

complete -c syncd -f
"""


def fish(syncd: Command) -> str:
    """Return what fish is told, one line for each thing that can be typed."""
    commands = " ".join(f"'{_path(one)}'" for one in all_of(syncd) if one.words)
    return _HEAD.format("fish") + _FISH.format(commands=commands) + "".join(_fish_lines(syncd))


def _path(command: Command) -> str:
    return "".join(f" {word}" for word in command.words)


def _fish_lines(command: Command) -> Iterator[str]:
    begin = f"complete -c syncd -n '__syncd_at \"{_path(command)}\"'"
    for one in command.commands:
        yield f"{begin} -a {one.name} -d {_fish_quoted(one.summary)}\n"
    for option in command.options:
        names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
        yield f"{begin} {names}{_fish_value(option)} -d {_fish_quoted(option.help.removesuffix('.'))}\n"
    match _operands(command):
        case "@files":
            yield f"{begin} -F\n"
        case offer if offer.startswith("@"):
            yield f"{begin} -a '(__syncd_names {offer[1:]})'\n"
    for one in command.commands:
        yield from _fish_lines(one)


def _fish_value(option: Option) -> str:
    match _values(option):
        case "@files":
            return " -r -F"
        case offer if offer.startswith("@"):
            return f" -x -a '(__syncd_names {offer[1:]})'"
        case offer:
            return f" -x -a '{offer}'" if offer else " -x" if option.value else ""


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
