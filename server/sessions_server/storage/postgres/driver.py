"""Statements sent directly to the driver, without SQLAlchemy: those that begin and end transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


def driver_of(connection: AsyncConnection) -> Any:
    """The driver's connection. `get_raw_connection` would switch to another greenlet and back for it, which costs more
    than sending a statement."""
    opened: Any = connection.sync_connection
    return opened.connection.driver_connection


async def send(connection: AsyncConnection, statements: str) -> None:
    """Sends statements without parameters and results as one message, which SQLAlchemy would have prepared. Raises
    TimeoutError, and other errors as SQLAlchemy does."""
    driver = driver_of(connection)
    try:
        await driver.execute(statements)
    except TimeoutError:
        raise
    except Exception as error:
        raise sa.exc.DBAPIError(
            None, None, error, hide_parameters=True, connection_invalidated=driver.is_closed()
        ) from error
