"""Floor 6: `syncd migrate`: the schema of the store brought to what this syncd needs."""

from syncd.cli.configured import configuration
from syncd.cli.options import ConfigOption
from syncd.cli.terminal import say


def migrate(config: ConfigOption = None) -> None:
    """Upgrade the store; the daemon must not be running. A SQLite store is copied first."""
    settings = configuration(config).config

    from syncd.store.engine.database import Database
    from syncd.store.engine.migrate import Standing, state

    url = settings.store.url.get_secret_value()
    before = state(url)
    Database.open(url, auto_migrate=True).close()
    if before.standing is Standing.CURRENT:
        say(f"the store is at schema {before.head} already")
    else:
        say(f"the store is at schema {before.head} now (before: {before.stored or 'none'})")
