"""How the programs are told which sessions server to use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sessions_client import AsyncClient

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_target(parser: ArgumentParser) -> None:
    """Adds the options of the server."""
    parser.add_argument(
        "--target", default="127.0.0.1:50051", help="the sessions server (default: %(default)s)"
    )
    parser.add_argument("--tls", action="store_true", help="use TLS, with the well-known authorities")
    parser.add_argument("--tls-ca", metavar="FILE", help="use TLS, with this authority, PEM")


def client_of(options: Namespace, **settings: Any) -> AsyncClient:
    """The client of the server that the options name. Reads the token from the environment, because command lines are
    visible to others. Raises InvalidArgument if no connection could be made with the options."""
    token = os.environ.get("SESSIONS_TOKEN") or None
    return AsyncClient(options.target, token=token, tls=options.tls_ca or options.tls, **settings)
