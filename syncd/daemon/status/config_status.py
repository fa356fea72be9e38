"""Floor 5: which configuration a daemon runs, and what is wrong with its file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """Say which configuration a daemon runs: that of its file, as of `loaded_at`, or an earlier one.

    problems: why the file cannot be used as it is now, each with its line, and since_at: since when; else it runs.
    at_restart: keys that are others in the file, and count after a restart only.
    """

    loaded_at: float
    path: str = ""
    problems: tuple[str, ...] = ()
    since_at: float | None = None
    at_restart: tuple[str, ...] = ()
