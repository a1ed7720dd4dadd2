# Derived from sessions_client/_async/_client.py by client/unasync.py. Change that file, then run:
#     python client/unasync.py
"""The entry point: an address, a credential, and `sessions`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, Self

from sessions_client._embedded import embedded_of
from sessions_client._models import Span
from sessions_client._options import CONNECT_SECONDS, MetadataInput, TokenSource, call_metadata, target_of
from sessions_client._retry import seconds_of
from sessions_client._sync._caller import Caller
from sessions_client._sync._pipeline import Pipeline
from sessions_client._sync._records import Records
from sessions_client._sync._sessions import Sessions
from sessions_client._tls import TLS, PathOrPem
from sessions_client.ops import Read

if TYPE_CHECKING:
    import os
    from datetime import timedelta
    from types import TracebackType


class Client:
    """A connection to the session service. One is enough for a whole program.

    `target` is an address (`127.0.0.1:50051`, `dns:///sessions:50051`, `unix:/run/sessions.sock`) or a list of
    addresses: calls are then distributed round robin over the servers that are up. Host names in a list are resolved
    once; a `dns:///` name with several addresses is resolved again as it changes.

    A path (`./chat.db`, a `Path`) opens a database file without a server of your own: all programs on the machine that
    open it share one process, which the first one starts and which exits after the last one. `:memory:` keeps
    everything in this process until the client is closed. Both need `pip install 'sessions[server]'`.

    `token` is sent as a bearer token with every call; a function is called for it each time. `tls` is True for the
    well-known authorities, the path or the content of your own CA, or a `TLS`. With TLS, all servers of a list must
    have certificates for the same name: the host that the addresses share, or `TLS(server_name=…)`. `metadata` is sent
    with every call; a function is called for it each time, for example to pass a trace on. `timeout` is the deadline of
    a call in seconds, or a `timedelta`, retries included. `connect_timeout` limits how long the client waits for the
    first response of any server, so that a wrong address is reported soon; after that first response, a lost server is
    waited for until the deadline.

    `proxy` says whether to use a proxy from the environment (`http_proxy`, `no_proxy`). None uses it for a single name
    or address, except for the loopback.

    Connection failures are retried until the deadline, with growing, jittered delays. That is safe: every write
    carries a request id, so the server applies it once.

    Raises `InvalidArgument` for invalid options. The constructor does not connect; the first call does.
    """

    def __init__(
        self,
        target: str | Iterable[str] | os.PathLike[str],
        *,
        token: TokenSource | None = None,
        tls: bool | PathOrPem | TLS = False,
        metadata: MetadataInput | None = None,
        timeout: Span = 30.0,
        connect_timeout: Span = CONNECT_SECONDS,
        proxy: bool | None = None,
    ) -> None:
        connect_seconds = seconds_of(connect_timeout, name="connect_timeout")
        embedded = embedded_of(target)
        address, local = (target, None) if embedded is None else (embedded.address, embedded.local)
        self._caller = Caller(
            target_of(address, tls, connect_seconds=connect_seconds, proxy=proxy, local=local),
            metadata=call_metadata(token, metadata),
            timeout=timeout,
            connect_timeout=connect_timeout,
            embedded=embedded,
        )
        self._sessions = Sessions(self._caller)
        self._records = Records(self._caller)

    @property
    def sessions(self) -> Sessions:
        """The methods for sessions."""
        return self._sessions

    @property
    def records(self) -> Records:
        """The methods for records."""
        return self._records

    def read(self, *reads: Read, timeout: Span | None = None) -> list[Any]:
        """Reads several things as of one instant; see `sessions.read`."""
        return self._sessions.read(*reads, timeout=timeout)

    def pipeline(self) -> Pipeline:
        """Many writes over one stream, for any number of tasks: `with client.pipeline() as p: …`."""
        return Pipeline(self._caller)

    def ping(self, *, timeout: Span | None = None) -> timedelta:
        """Returns how long a health check took. Raises Unavailable if the server cannot be reached or does not
        serve."""
        return self._caller.ping(timeout)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client cannot be pickled; make one in the other process, from the same options.")

    def close(self) -> None:
        """Ends all subscriptions and closes the connection. The client cannot be used again."""
        self._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
