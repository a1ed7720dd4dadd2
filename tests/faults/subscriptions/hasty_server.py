"""The server's program with some gRPC options changed: its argument is a JSON object of them."""

from __future__ import annotations

import asyncio
import json
import sys

from sessions_server import app
from sessions_server.rpc import server as rpc_server
from sessions_server.settings import read_settings
from tests.support.clocked_server import announce


def main() -> None:
    options = dict(rpc_server.OPTIONS)
    changed = json.loads(sys.argv[1])
    if unknown := changed.keys() - options:
        raise SystemExit(f"The server has no option {', '.join(unknown)}.")
    vars(rpc_server)["OPTIONS"] = tuple({**options, **changed}.items())
    asyncio.run(app.serve(read_settings(), ready=announce))


if __name__ == "__main__":
    main()
