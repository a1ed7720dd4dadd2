"""Static files: the console and the description of the API."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

FOLDER: Final = Path(__file__).parent
CONSOLE: Final = FOLDER / "console"
INDEX: Final = "index.html"
POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
)
FOREVER: Final = "public, max-age=31536000, immutable"
"""For files with a content hash in their names."""


class ConsoleFiles:
    """Serves the console's files, which are all known at startup, and its index page for the console's own routes."""

    def __init__(self, *, otherwise: ASGIApp) -> None:
        self._otherwise = otherwise
        self._files = {
            path.relative_to(CONSOLE).as_posix(): path for path in CONSOLE.rglob("*") if path.is_file()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._name(scope["path"])
        if name not in self._files or scope["method"] not in ("GET", "HEAD"):
            await self._otherwise(scope, receive, send)
            return
        await _response(self._files[name], scope)(scope, receive, send)

    @staticmethod
    def _name(path: str) -> str:
        is_route = path in ("/", "/sessions") or path.startswith("/sessions/")
        return INDEX if is_route else path.removeprefix("/")


async def openapi(_: Request) -> Response:
    return Response(_content(FOLDER / "openapi.json"), media_type="application/json")


def _response(path: Path, scope: Scope) -> Response:
    content = _content(path)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "content-security-policy": POLICY,
        "cache-control": FOREVER if path.parent.name == "assets" else "no-cache",
        "etag": etag,
    }
    if dict(scope["headers"]).get(b"if-none-match") == etag.encode():
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=mimetypes.guess_type(path.name)[0], headers=headers)


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()
