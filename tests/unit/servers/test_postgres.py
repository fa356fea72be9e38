"""The PostgreSQL that other tests stand on does what they rely on."""

import psycopg

from tests.servers.postgres import Postgres


def test_a_named_database_is_fresh_each_time(postgres: Postgres) -> None:
    """Nothing of an earlier test is left in a database of the same name."""
    with psycopg.connect(postgres.url("twice")) as connection:
        connection.execute("CREATE TABLE remains (n int)")

    with psycopg.connect(postgres.url("twice")) as connection:
        found = connection.execute("SELECT to_regclass('remains')").fetchone()

    assert found == (None,)


def test_two_databases_are_strangers(postgres: Postgres, postgres_url: str) -> None:
    """Tests on different databases do not see each other, and text is UTF-8."""
    with psycopg.connect(postgres.url("other")) as other:
        other.execute("CREATE TABLE alone (word text)")
        other.execute("INSERT INTO alone VALUES ('tűrő')")
        other.commit()
        with psycopg.connect(postgres_url) as connection:
            assert connection.execute("SELECT to_regclass('alone')").fetchone() == (None,)
        assert other.execute("SELECT word FROM alone").fetchone() == ("tűrő",)


def test_committed_rows_survive_a_restart(postgres: Postgres) -> None:
    """A store can lose its server and find it again at the same URL with what it had committed."""
    url = postgres.url("survivor")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (42)")

    postgres.stop()
    postgres.start()

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (42,)
