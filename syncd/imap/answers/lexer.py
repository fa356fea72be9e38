"""Floor 3: the generic tokenizer of response text: atoms, strings, literals, lists; iterative and total."""

import re
from collections.abc import Sequence

from syncd.errors import ProtocolError
from syncd.imap.types import Octets, SpooledLiteral

DEPTH_MAX = 100
"""Lists nested deeper than this are refused; the deepest that syncd asks for is 3."""

_TOKEN = re.compile(
    rb"""\s*(?:
      (?P<open>\() | (?P<close>\))
    | "(?P<quoted>(?>[^"\\]*+(?:\\.[^"\\]*+){0,10000}))"
    | (?P<literal>~?\{\d+\+?\}\Z)
    | (?P<atom>(?:(?:BODY|BINARY)(?:\.PEEK|\.SIZE)?\[[^\]]{0,1000}\](?:<\d+>)?) | [^\s()"]+ )
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class Atom(bytes):
    """An atom, so that NIL and numbers are told apart from strings that look like them."""

    __slots__ = ()


Item = Atom | bytes | SpooledLiteral | None | tuple["Item", ...]


def items(pieces: Sequence[Octets]) -> tuple[Item, ...]:
    """Return the items of a response given as text, literal, text, literal, ..., text.

    NIL is None, a list is a tuple, a quoted string or literal is bytes. Raises ProtocolError for unbalanced
    parentheses, an unended string or one of more than 10,000 escapes, and nesting beyond DEPTH_MAX.
    """
    stack: list[list[Item]] = [[]]
    for index in range(0, len(pieces), 2):
        text = pieces[index]
        if not isinstance(text, bytes):
            raise ProtocolError("a literal where response text belongs")
        follows = pieces[index + 1] if index + 1 < len(pieces) else None
        _read(text, follows, stack)
    if len(stack) != 1:
        raise ProtocolError("unbalanced parentheses in a response")
    return tuple(stack[0])


def _read(text: bytes, literal: Octets | None, stack: list[list[Item]]) -> None:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise ProtocolError("unended string in a response")
        at = match.end()
        kind = match.lastgroup
        if kind == "atom":
            atom = match["atom"]
            stack[-1].append(None if atom in {b"NIL", b"nil", b"Nil"} else Atom(atom))
        elif kind == "open":
            if len(stack) > DEPTH_MAX:
                raise ProtocolError("response nested too deeply")
            stack.append([])
        elif kind == "close":
            if len(stack) == 1:
                raise ProtocolError("unbalanced parentheses in a response")
            done = tuple(stack.pop())
            stack[-1].append(done)
        elif kind == "quoted":
            quoted = match["quoted"]
            stack[-1].append(_ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted)
        else:
            if literal is None:
                raise ProtocolError("announced literal is missing")
            stack[-1].append(literal)
