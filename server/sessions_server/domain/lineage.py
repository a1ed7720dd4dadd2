"""The identity of a session's log, and up to which position two logs of a session are the same.

A log gets an identity with its first event. A failover of the database can lose the last events of a log and assign
their sequences to others. So the first write in each epoch of the database adds a branch to the identity: its sequence
and the epoch. A position is therefore unambiguous together with the identity of its log: 20 in `ID` and 20 in
`ID.12-5f0c9a31` are different events.
"""

from __future__ import annotations

from typing import Final

from sessions_server.domain.models import Sequence

MOST_BRANCHES: Final = 6
"""The maximum number of branches in an identity. Of older ones only the sequence of the first is kept, without its
epoch: logs that share none of the newer branches are considered different from there on."""


def grown(log_id: str, epoch: str, first: Sequence) -> str:
    """The identity of the log after events from `first` on were written in an epoch; an empty epoch is unknown."""
    if not epoch or log_id.endswith(f"-{epoch}"):
        return log_id
    root, *branches = log_id.split(".")
    branches.append(f"{first}-{epoch}")
    if len(branches) > MOST_BRANCHES:
        branches = [f"{_start(branches[0])}-", *branches[1 - MOST_BRANCHES :]]
    return ".".join([root, *branches])


def root_of(log_id: str) -> str:
    """The part shared by all identities of a session's log, from its creation to its deletion."""
    return log_id.partition(".")[0]


def differ_from(one: str, other: str) -> Sequence | None:
    """The first position at which two logs may differ: None if they are the same log, 0 if they belong to different
    sessions with the same id. Identities that no server created differ from the start."""
    if one == other:
        return None
    (root, *ours), (other_root, *theirs) = one.split("."), other.split(".")
    if root != other_root:
        return Sequence(0)
    for branch in reversed(ours):
        if branch in theirs and not branch.endswith("-"):  # everything before the common branch is the same
            ours, theirs = ours[ours.index(branch) + 1 :], theirs[theirs.index(branch) + 1 :]
            break
    return min((_start(branches[0]) for branches in (ours, theirs) if branches), default=None)


def _start(branch: str) -> Sequence:
    start = branch.partition("-")[0]
    return Sequence(int(start) if start.isascii() and start.isdigit() else 0)
