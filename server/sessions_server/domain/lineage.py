"""The identity of a session's log, and how far two logs of a session are the same.

A log has an identity of its own from its first event. A failover of the database can take its last events back and give
their sequences to others. So the first write in each epoch of the database adds a branch to the identity: the sequence
that it got, and the epoch. A position together with the identity of its log therefore names one event, and not only a
number: 20 in `ID` is another event than 20 in `ID.12-5f0c9a31`.
"""

from __future__ import annotations

from typing import Final

from sessions_server.domain.models import Sequence

MOST_BRANCHES: Final = 6
"""How many an identity holds. Of older ones only the place of the first is kept, without its epoch: two logs that have
none of the newer ones in common are taken for different from there on."""


def grown(log_id: str, epoch: str, first: Sequence) -> str:
    """The identity of the log once events from `first` on were written to it in an epoch; empty: that is not known."""
    if not epoch or log_id.endswith(f"-{epoch}"):
        return log_id
    root, *branches = log_id.split(".")
    branches.append(f"{first}-{epoch}")
    if len(branches) > MOST_BRANCHES:
        branches = [f"{_start(branches[0])}-", *branches[1 - MOST_BRANCHES :]]
    return ".".join([root, *branches])


def is_branched(log_id: str) -> bool:
    """Whether the log is in a database that can fail over, so that a sequence alone does not name one of its events."""
    return "." in log_id


def root_of(log_id: str) -> str:
    """What all identities of a session's log have in common, from its creation to its end."""
    return log_id.partition(".")[0]


def differ_from(one: str, other: str) -> Sequence | None:
    """The first position at which two logs may differ; 0 for logs of different lives of a session; None: they are the
    same log. Identities that no server has given out differ from the start."""
    if one == other:
        return None
    (root, *ours), (other_root, *theirs) = one.split("."), other.split(".")
    if root != other_root:
        return Sequence(0)
    for branch in reversed(ours):
        if branch in theirs and not branch.endswith("-"):  # what was written before it is the same too
            ours, theirs = ours[ours.index(branch) + 1 :], theirs[theirs.index(branch) + 1 :]
            break
    return min((_start(branches[0]) for branches in (ours, theirs) if branches), default=None)


def _start(branch: str) -> Sequence:
    start = branch.partition("-")[0]
    return Sequence(int(start) if start.isascii() and start.isdigit() else 0)
