"""Where keys are in a TOML text."""

import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from syncd.config.locate import key_lines

TEXT = '''\
# a comment with [brackets] and key = "value"
top = 1
dotted.key = 2            # trailing = comment
"quoted \\u0041" = 3
'literal "key"' = 4

[table]
string = "with # no comment, = and [x]\\" still"
multi = """
fake = 1
[fake]
\\"""
"""
literal = \'\'\'
fake = 2
\'\'\'
after = 1979-05-27 07:32:00
array = [
    "]", # ]
    [1, 2],
    { inside = 1 },
]
inline = { a = 1, b.c = { d = "}" } }
[ table . "sub.table" ]
x = true
[[many]]
y = 1.5e3
[[many]]
y = -inf
z = 0xff
'''


def test_every_way_to_write_a_key_is_found() -> None:
    """Dotted, quoted and inline keys, tables and arrays of tables have the line where they first stand."""
    lines = key_lines(TEXT)

    assert key_lines(TEXT) == {
        ("top",): 2,
        ("dotted",): 3,
        ("dotted", "key"): 3,
        ("quoted A",): 4,
        ('literal "key"',): 5,
        ("table",): 7,
        ("table", "string"): 8,
        ("table", "multi"): 9,
        ("table", "literal"): 14,
        ("table", "after"): 17,
        ("table", "array"): 18,
        ("table", "array", "inside"): 21,
        ("table", "inline"): 23,
        ("table", "inline", "a"): 23,
        ("table", "inline", "b"): 23,
        ("table", "inline", "b", "c"): 23,
        ("table", "inline", "b", "c", "d"): 23,
        ("table", "sub.table"): 24,
        ("table", "sub.table", "x"): 25,
        ("many",): 26,
        ("many", "y"): 27,
        ("many", "z"): 30,
    }
    assert lines == key_lines(TEXT.replace("\n", "\r\n"))


def test_text_without_keys_has_no_lines() -> None:
    """An empty file and one of comments are not an error."""
    assert key_lines("") == {}
    assert key_lines("# nothing\n\n  # here") == {}


_keys = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6).map(
        lambda key: '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
)
_scalars = st.sampled_from(
    [
        "1",
        "-0.5",
        "true",
        "1979-05-27",
        "1979-05-27 07:32:00.5",
        '"a # \\" = ["',
        "'x = {'",
        '"""\na = 1\n"""',
        "''''q'''",
    ]
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda many: "[ # x = [\n" + ",\n".join(many) + "\n]"),
        st.tuples(_keys, inner).map(lambda pair: f"{{ {pair[0]} = {pair[1]} }}"),
    ),
    max_leaves=4,
)
_lines = st.one_of(
    st.tuples(_keys, _values).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.tuples(_keys, _keys, _values).map(lambda three: f"{three[0]} . {three[1]}={three[2]} # y = 1"),
    st.lists(_keys, min_size=1, max_size=3).map(lambda keys: f"[ {' . '.join(keys)} ]"),
    st.just("# [comment] = 1"),
    st.just(""),
)


@given(st.lists(_lines, max_size=8))
def test_every_key_that_tomllib_reads_has_a_line(lines: list[str]) -> None:
    """Whatever valid TOML comes, the locator finds exactly the keys that tomllib finds."""
    text = "\n".join(lines)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    assert set(_paths(values)) == set(key_lines(text))


def _paths(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, path)
