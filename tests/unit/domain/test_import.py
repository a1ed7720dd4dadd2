"""What an import does to the session that it replaces."""

from __future__ import annotations

import pytest

from sessions_server.domain.errors import SessionExists
from sessions_server.domain.history import Span
from sessions_server.domain.models import Sequence, Session, State
from tests.support import commits as c
from tests.unit.domain.build import KEY, do, session, workspace


def test_an_import_replaces_content_and_continues_the_sequence() -> None:
    space = workspace(session(last_sequence=5, message_count=2, state=State.ACTIVE))
    exported = session(metadata={"from": "export"}, state=State.ENDED, last_sequence=90)
    do(space, c.import_session(key=KEY, exported=exported, context={"k": 1}, message_count=1))
    assert isinstance(answer := space.slots[KEY].facts.session, Session)
    assert (answer.metadata, answer.state, answer.last_sequence) == ({"from": "export"}, State.ACTIVE, 6)
    with pytest.raises(SessionExists):
        do(
            space,
            c.import_session(key=KEY, exported=exported, context={}, message_count=0, fail_if_exists=True),
        )
    assert space.slots[KEY].facts.history.removed == (Span(Sequence(1), Sequence(5)),)
