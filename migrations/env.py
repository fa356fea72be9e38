"""Run migrations on the connection that syncd passes; nothing here imports syncd, nor does any version."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from sqlalchemy.types import TypeDecorator


def render(kind: str, item: Any, _: object) -> str | Literal[False]:
    """Write types of syncd as the ones they are kept in, and truth values so that every database takes them."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    if kind == "server_default" and isinstance(item, sa.DefaultClause):
        if isinstance(item.arg, sa.True_):
            return "sa.true()"
        if isinstance(item.arg, sa.False_):
            return "sa.false()"
    return False


def is_another_default(
    _: object, __: object, ___: object, found: str | None, ____: object, wanted: str | None
) -> bool | None:
    """Say that an empty text is no other default than an empty text, which alembic gets wrong on SQLite."""
    return False if found == "('')" and wanted == "" else None


def run() -> None:
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=attributes.get("target_metadata"),
        render_as_batch=True,
        render_item=render,
        compare_type=True,
        compare_server_default=is_another_default,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
