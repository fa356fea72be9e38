"""Floor 2: durations and sizes as people write them: `30d`, `250ms`, `25MB`, `1GiB`; and sizes as told."""

import re

_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]+)", re.ASCII)

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))

_NUMBER = r"[0-9]{1,12}(\.[0-9]{1,6})?"
DURATION = rf"\s*{_NUMBER}\s*({'|'.join(_SECONDS)})\s*"
SIZE = rf"\s*{_NUMBER}\s*([kKmMgGtT][iI]?)?[bB]\s*"
"""What is understood, as patterns of Python and ECMAScript."""


def parse_duration(text: str) -> float:
    """Return the seconds of `250ms`, `1s`, `5m`, `12h`, `30d` or `2w`; ValueError for anything else."""
    found = _AMOUNT.fullmatch(text.strip())
    # NOTE: units are exact: with `M` for minutes, `5M` would be one typing slip away from five months.
    if not found or found[2] not in _SECONDS:
        raise ValueError('should be a duration such as "30d", "5m", "1s" or "250ms"')
    return float(found[1]) * _SECONDS[found[2]]


def parse_size(text: str) -> int:
    """Return the bytes of `100MB` (10^6) or `1GiB` (2^30); ValueError for anything else."""
    found = _AMOUNT.fullmatch(text.strip())
    if not found or found[2].lower() not in _BYTES:
        raise ValueError('should be a size such as "500kB", "25MB" or "1GiB"')
    return round(float(found[1]) * _BYTES[found[2].lower()])


def size(size_bytes: float) -> str:
    """Return a size as it is said to a person, in its largest unit."""
    for unit, name in _UNITS:
        if size_bytes >= unit:
            number = size_bytes / unit
            return f"{number:.1f} {name}" if number < 10 else f"{number:,.0f} {name}"
    return f"{size_bytes:.0f} B"
