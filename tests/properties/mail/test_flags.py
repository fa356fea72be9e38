"""Flags: what holds for all of them."""

from hypothesis import given
from hypothesis import strategies as st

from syncd.mail.flags import SYSTEM, Flags, canonical, flags_of, format_flags, parse_flags, with_delta

names = st.one_of(
    st.text(max_size=12),
    st.sampled_from(sorted(SYSTEM)),
    st.from_regex(r"\\?[A-Za-z$]{1,6}", fullmatch=True),
    st.sampled_from(["$Junk", "$JUNK", "$junk", "\\SEEN", "\\Recent"]),
)
flag_sets = st.lists(names, max_size=8).map(flags_of)


@given(names)
def test_spelling_is_settled_once(name: str) -> None:
    """What is kept is kept as it is when it comes back from a server or a store."""
    flag = canonical(name)
    if flag is not None:
        assert canonical(flag) == flag
        assert flag.lower() == name.lower()
        assert flag.isascii()
        assert flag.isprintable()


@given(flag_sets)
def test_flags_survive_the_store(flags: Flags) -> None:
    """What is written is read again."""
    assert parse_flags(format_flags(flags)) == flags


@given(st.lists(names, max_size=8))
def test_equal_flags_have_equal_texts(given_names: list[str]) -> None:
    """The order in which a server lists flags is no change."""
    flags = flags_of(given_names)

    assert format_flags(frozenset(sorted(flags, reverse=True))) == format_flags(flags)
    assert {flag.lower() for flag in flags_of(reversed(given_names))} == {flag.lower() for flag in flags}


@given(flag_sets, flag_sets, flag_sets)
def test_change_does_what_it_says_and_no_more(flags: Flags, add: Flags, remove: Flags) -> None:
    """After a change the added flags are there, the removed gone, the others as they were, and none twice."""
    result = with_delta(flags, add=add, remove=remove)
    touched = {flag.lower() for flag in add | remove}

    assert add <= result
    assert {flag.lower() for flag in result} & {flag.lower() for flag in remove} <= {flag.lower() for flag in add}
    assert {f for f in result if f.lower() not in touched} == {f for f in flags if f.lower() not in touched}
    assert len({flag.lower() for flag in result}) == len(result)
    assert with_delta(result, add=add, remove=remove) == result
