"""Quotas: concurrent use in total and per caller."""

from __future__ import annotations

import pytest

from sessions_server.domain.errors import Unavailable
from sessions_server.domain.ports import Caller
from sessions_server.rpc.quotas import Bounds, Quota

ANN, BEN = Caller("acme", subject="ann"), Caller("acme", subject="ben")


def quota(in_all: int, per_caller: int) -> Quota:
    return Quota(
        Bounds(in_all, per_caller), Unavailable, server="Too much in all.", caller="Too much of one."
    )


def test_exceeding_a_bound_is_refused_with_its_own_sentence() -> None:
    held = quota(in_all=10, per_caller=6)
    with held.hold(ANN, 6):
        with pytest.raises(Unavailable, match="Too much of one"), held.hold(ANN, 1):
            pass
        with held.hold(BEN, 4), pytest.raises(Unavailable, match="Too much in all"), held.hold(BEN, 1):
            pass


def test_released_amounts_can_be_taken_again_and_leave_no_trace() -> None:
    held = quota(in_all=1, per_caller=1)
    for caller in (ANN, BEN, ANN):
        with held.hold(caller):
            assert held.held == 1
    with pytest.raises(ZeroDivisionError), held.hold(ANN):
        raise ZeroDivisionError
    assert held.held == 0


def test_two_credentials_with_one_name_have_separate_bounds() -> None:
    held = quota(in_all=10, per_caller=1)
    one, other = (Caller("acme", subject="backend", credential=each) for each in ("1", "2"))
    with held.hold(one), held.hold(other), pytest.raises(Unavailable), held.hold(one):
        pass
