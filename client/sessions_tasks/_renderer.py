"""The client of the process that renders templates."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sessions_tasks import _rendering
from sessions_tasks._errors import StepProblem

_PROGRAM: Final = Path(_rendering.__file__)
_LINE_BYTES: Final = 6 * _rendering.MAX_OUTPUT_BYTES
MAX_RUN_BYTES: Final = 1024 * 1024 * 1024
"""The limit for the output of all templates of a run, since the run may keep it."""
_GONE: Final = (
    f"A template took more than {_rendering.PROCESSOR_SECONDS:g} seconds of processor time or "
    f"{_rendering.MEMORY_BYTES // 1024**2} MiB of memory, and was stopped. Make it do less."
)


class Renderer:
    """Renders one value at a time. Starts its process on demand, and again after a template ended it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._bytes_left = MAX_RUN_BYTES

    async def render(self, value: Any, names: Mapping[str, Any], *, bare: bool = False) -> Any:
        """A value of the file with its templates rendered. Raises StepProblem."""
        request = json.dumps({"value": value, "names": names, "bare": bare}).encode() + b"\n"
        async with self._turn:
            answer = await self._ask(request)
        if "error" in answer:
            raise StepProblem(f"A template cannot be rendered: {answer['error'].rstrip('.')}.")
        return answer["value"]

    async def _ask(self, request: bytes) -> dict[str, Any]:
        process = self._process or await self._start()
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise StepProblem(_GONE)
        try:
            stdin.write(request)
            await stdin.drain()
            line = await stdout.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        except asyncio.CancelledError:
            # Otherwise its late response would be taken for that to the next request.
            await self.aclose()
            raise
        if not line.endswith(b"\n"):
            await self.aclose()
            raise StepProblem(_GONE)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise StepProblem(
                f"The templates of the run made more than {MAX_RUN_BYTES // 1024**2} MiB. Keep less."
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        # Only the path to the libraries: templates must not see the rest of the environment.
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            str(_PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            limit=_LINE_BYTES,
        )
        return self._process

    async def aclose(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.communicate()
