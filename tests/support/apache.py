"""Apache httpd as a proxy for gRPC, which docs/proxies.md advises against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.daemon import Daemon
from tests.support.debian import find_program
from tests.support.ports import HOST, free_port

MODULES: Final = ("mpm_event", "authz_core", "http2", "proxy", "proxy_http2")

CONFIGURATION: Final = """
ServerRoot "{folder}"
ServerName localhost
Listen {address}
PidFile "{folder}/apache.pid"
ErrorLog "{folder}/apache-error.log"
{modules}
Protocols h2c
ProxyPass / h2c://{server}/ retry=0
"""


@contextmanager
def running_apache(folder: Path, server: str) -> Iterator[str]:
    """The address of an Apache in front of a server."""
    port = free_port()
    program, variables = find_program(
        "apache2", packages=("apache2-bin", "libapr1", "libaprutil1", "libnghttp2-14")
    )
    library = Path(program).parents[1] / "lib" / "apache2" / "modules"
    config = folder / "apache.conf"
    modules = "\n".join(f'LoadModule {name}_module "{library}/mod_{name}.so"' for name in MODULES)
    config.write_text(
        CONFIGURATION.format(folder=folder, address=f"{HOST}:{port}", server=server, modules=modules)
    )
    command = [program, "-f", str(config), "-X"]  # one process, which ends when it is killed
    with Daemon(command, port=port, env=variables, log=folder / "apache.log"):
        yield f"{HOST}:{port}"
