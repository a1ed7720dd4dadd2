"""Messages that are hidden but still stored give up their ids when new messages have the same.

Those that an import stored in slices need not: their ids are told apart from others by the import's first position.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from sessions_server.storage.erasure import CLEARED, IN_SPAN
from sessions_server.storage.schema import log
from sessions_server.storage.statements import Prepared

IS_ORDINARY: Final = log.c.import_start == sa.literal_column("0")
"""Whether no import in slices stored the event."""

FREE_MESSAGE_IDS: Final = Prepared(
    CLEARED.where(*IN_SPAN, log.c.message_id == sa.bindparam("free_id"), IS_ORDINARY)
)
