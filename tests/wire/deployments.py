"""The files of a deployment."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

WRITER, READER, GLOBEX, EXPIRED = "acme-writer", "acme-reader", "globex-writer", "acme-expired"


def entry(token: str, tenant: str, access: str, more: str = "") -> str:
    digest = sha256(token.encode()).hexdigest()
    return f'[[tokens]]\nsha256 = "{digest}"\ntenant = "{tenant}"\naccess = "{access}"\n{more}\n'


def tokens_file(folder: Path) -> Path:
    path = folder / "tokens.toml"
    path.write_text(
        entry(WRITER, "acme", "write")
        + entry(READER, "acme", "read")
        + entry(GLOBEX, "globex", "write")
        + entry(EXPIRED, "acme", "write", "expires = 2020-01-01T00:00:00Z")
    )
    path.chmod(0o600)
    return path
