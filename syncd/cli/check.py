"""`syncd check-config`: every problem of the configuration at once, or one line that sums it up."""

from syncd.cli.options import ConfigOption, configuration, say


def check_config(config: ConfigOption = None) -> None:
    """Check the configuration without connecting to anything."""
    reading = configuration(config)
    accounts, devices = len(reading.config.accounts), len(reading.config.devices)
    say(f"{reading.path}: {_count(accounts, 'account')}, {_count(devices, 'device')}")


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
