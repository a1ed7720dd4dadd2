"""A session of two hundred thousand messages is exported and imported without the server growing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from tests.faults.durability.load import stub_of
from tests.faults.transfer import killing
from tests.support.figures import show
from tests.support.server import Server, sqlite_url, start_server

if TYPE_CHECKING:
    Stub: TypeAlias = pb_grpc.SessionServiceAsyncStub

MESSAGES = 200_000
TOGETHER = 1_000
WRITERS = 4
TEXT = (
    "a message of about the length that people write to each other in a chat, give or take a few words. " * 2
)
LIMIT_MIB = 300


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with start_server(tmp_path) as server:
        yield server


async def fill(stub: Stub) -> None:
    await stub.CreateSession(pb.CreateSessionRequest(session_id="large", user_id="u"))

    async def write(writer: int) -> None:
        for start in range(writer * TOGETHER, MESSAGES, WRITERS * TOGETHER):
            batch = [
                pb.Message(role="user", content=f"{number} {TEXT}")
                for number in range(start, start + TOGETHER)
            ]
            await stub.AddMessages(pb.AddMessagesRequest(session_id="large", messages=batch))

    await asyncio.gather(*map(write, range(WRITERS)))


async def passed_on(stub: Stub, footers: list[pb.ExportFooter]) -> AsyncIterator[pb.ImportSessionRequest]:
    """The records of the export as they arrive, so that the test keeps none either."""
    yield pb.ImportSessionRequest(session_id="copy")
    async for response in stub.ExportSession(pb.ExportSessionRequest(session_id="large")):
        yield pb.ImportSessionRequest(record=response.record)
        if response.record.HasField("footer"):
            footers.append(response.record.footer)


async def texts(stub: Stub, session_id: str, after: int) -> list[str]:
    query = pb.GetHistoryRequest(session_id=session_id, after_sequence=after, limit=TOGETHER)
    return [message.content for message in (await stub.GetHistory(query)).messages]


async def test_a_large_session_is_exported_and_imported_in_little_memory(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    footers: list[pb.ExportFooter] = []
    async with stub_of(server) as stub:
        await fill(stub)
        filled = killing.peak_of(server.pid)
        imported = (await stub.ImportSession(passed_on(stub, footers))).session
        peak = killing.peak_of(server.pid)
        assert imported.message_count == footers[0].message_count == MESSAGES
        for place in (0, MESSAGES // 2, MESSAGES - TOGETHER):
            assert await texts(stub, "copy", place + 1) == await texts(stub, "large", place + 1)
        await stub.DeleteSession(pb.DeleteSessionRequest(session_id="copy"))
    server.stop()
    out, back = (peak_mib_of(command, tmp_path) for command in ("export", "import"))
    show(
        capsys,
        f"{MESSAGES} messages exported and imported at once: the server had {peak} MiB at most ({filled} before); by "
        f"the command line, to a file and back: {out} and {back} MiB",
    )
    assert max(peak, out, back) < LIMIT_MIB


def peak_mib_of(name: str, folder: Path) -> int:
    """The peak memory of the command line when it exports the database, or imports the file into a new one."""
    database = folder if name == "export" else folder / "new"
    database.mkdir(exist_ok=True)
    return killing.peak_mib(name, "dump", folder=folder, env={"SESSIONS_DATABASE_URL": sqlite_url(database)})
