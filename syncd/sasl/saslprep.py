"""Floor 1: user names and passwords as SASLprep has them (RFC 4013): what looks the same is the same."""


def prepared(text: str, *, allows_unassigned: bool = False) -> str | None:
    """Return a text as it is compared, None where it has what is not allowed.

    allows_unassigned: characters that Unicode 3.2 does not know, as a user name may have them (RFC 5802 §5.1).
    """
    if text.isascii():
        return text if text.isprintable() else None
    import stringprep  # noqa: PLC0415  # these are for few names, and take a megabyte
    from unicodedata import ucd_3_2_0  # noqa: PLC0415

    mapped = "".join(" " if stringprep.in_table_c12(one) else one for one in text if not stringprep.in_table_b1(one))
    normal = ucd_3_2_0.normalize("NFKC", mapped)
    prohibited = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        *(() if allows_unassigned else (stringprep.in_table_a1,)),
    )
    if any(is_in(one) for one in normal for is_in in prohibited):
        return None
    # RFC 3454 §6: a text that has anything written from right to left is so from its first to its last character.
    from_right = [stringprep.in_table_d1(one) for one in normal]
    if any(from_right) and (
        not (from_right[0] and from_right[-1]) or any(stringprep.in_table_d2(one) for one in normal)
    ):
        return None
    return normal
