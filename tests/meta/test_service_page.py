"""The page of the service lists every RPC and every transition."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sessions_proto.v1 import commits_pb2, drafts_pb2, records_pb2, sessions_pb2 as pb
from sessions_server.domain.lifecycle import TRANSITIONS
from sessions_server.domain.models import State
from sessions_server.domain.operations import Verb
from tests.meta.tree import text_of

PAGE = text_of(Path("docs/service.md"))
FILES = (pb, commits_pb2, records_pb2, drafts_pb2)


def test_every_rpc_is_listed_once() -> None:
    [table] = re.findall(r"^## RPCs\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    listed = [
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"\w+", row)
    ]
    services = (service for file in FILES for service in file.DESCRIPTOR.services_by_name.values())
    assert sorted(listed) == sorted(name for service in services for name in service.methods_by_name)


@pytest.mark.parametrize("verb", TRANSITIONS)
def test_every_transition_is_listed(verb: Verb) -> None:
    sources, target = TRANSITIONS[verb]
    [(listed, to)] = re.findall(rf"^\| {verb} \| (.*?) \| (\w+) \|$", PAGE, re.MULTILINE)
    named = set(re.findall(r"[A-Z]{3,}", listed))
    if listed.startswith("every state but"):
        named = {state.upper() for state in State} - named
    assert (named, to) == ({state.upper() for state in sources}, target.upper())
