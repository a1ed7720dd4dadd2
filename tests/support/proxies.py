"""The proxies of docs/proxies.md, each with the configuration shown there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.daemon import Daemon
from tests.support.debian import find_program
from tests.support.ports import HOST, free_port
from tests.support.server import ROOT

PAGE: Final = ROOT / "docs" / "proxies.md"


class Kind(NamedTuple):
    """A proxy, and what a test adds so that it runs from a temporary folder."""

    program: str
    packages: tuple[str, ...]
    arguments: tuple[str, ...]
    edits: tuple[tuple[str, str], ...] = ()


KINDS: Final = {
    "nginx": Kind(
        "nginx",
        ("nginx",),
        (
            "-p",
            "{folder}",
            "-e",
            "stderr",
            "-c",
            "{config}",
            "-g",
            "daemon off; master_process off; pid {folder}/pid;",
        ),
        (
            (r"^", "user root;\nerror_log stderr;\n"),
            (
                r"http \{",
                "http {\naccess_log off;\n"
                + "".join(
                    f"{kind}_temp_path {{folder}}/{kind};\n"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
                ),
            ),
        ),
    ),
    "haproxy": Kind(
        "haproxy",
        ("haproxy", "liblua5.3-0", "libopentracing1", "libopentracing-c-wrapper0"),
        ("-db", "-f", "{config}"),
    ),
    "caddy": Kind("caddy", ("caddy",), ("run", "--adapter", "caddyfile", "--config", "{config}")),
}


@contextmanager
def running_proxy(name: str, folder: Path, server: str, *, without: str = "") -> Iterator[str]:
    """The address of a proxy in front of a server. The configuration line that starts with `without` is removed."""
    kind, port = KINDS[name], free_port()
    program, variables = find_program(kind.program, packages=kind.packages)
    config = folder / f"{name}.conf"

    def placed(text: str) -> str:
        return text.replace("{folder}", str(folder)).replace("{config}", str(config))

    text = configuration(name).replace("127.0.0.1:8080", f"{HOST}:{port}").replace("127.0.0.1:50051", server)
    if without:
        text = re.sub(rf"(?m)^ *{without}.*\n", "", text)
    for pattern, edit in kind.edits:
        text = re.sub(pattern, placed(edit), text, count=1)
    config.write_text(text)
    command = [program, *map(placed, kind.arguments)]
    env = {**variables, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with Daemon(command, port=port, env=env, log=folder / f"{name}.log"):
        yield f"{HOST}:{port}"


def configuration(name: str) -> str:
    """The configuration on the page."""
    (block,) = re.findall(rf"^```{name}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(block)
