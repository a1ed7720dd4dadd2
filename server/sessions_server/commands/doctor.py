"""`sessions-server doctor`: checks everything that a server with these settings needs, and changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sessions_server.commands.flags import with_settings
from sessions_server.domain.errors import DomainError, SetupError
from sessions_server.settings import PREFIX, SETTINGS, Settings, unknown_variables

if TYPE_CHECKING:
    from sessions_server.storage.backend import Survey

SOON: Final = timedelta(days=14)
"""Certificates that expire sooner than this get a note."""

TOLERATED_SECONDS: Final = 2.0
"""Smaller clock errors are harmless: expiry has a resolution of seconds."""

OK, NOTE, FAIL = "ok", "note", "FAIL"
Finding = tuple[str, str]
"""The level, and a sentence."""


@with_settings(*SETTINGS)
def doctor(
    *,
    through: Annotated[
        str | None,
        typer.Option(
            help="The address that clients use, HOST:PORT or https://HOST:PORT: checks the proxy there."
        ),
    ] = None,
    settings: Settings,
) -> None:
    """Checks what a server needs, and changes nothing.

    Settings, database, keyring, TLS and clock, and with --through the proxy in front of a running server. A line that
    begins with `note` is worth a look; one with FAIL names what must be fixed, and the exit code is then 1.
    """
    examination = _Examination(settings, through)
    failed = False
    for subject, examine in examination.parts():
        for level, sentence in _found(examine):
            typer.echo(f"{level:<4}  {subject:<8}  {sentence}")
            failed |= level == FAIL
    if failed:
        raise typer.Exit(1)


def _found(examine: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of one check, the last of which may be that it failed."""
    try:
        yield from examine()
    except (SetupError, DomainError) as error:
        yield FAIL, str(error)


class _Examination:
    def __init__(self, settings: Settings, through: str | None) -> None:
        self._settings = settings
        self._through = through
        self._survey: Survey | None = None
        """Set if the database can be used."""

    def parts(self) -> Iterator[tuple[str, Callable[[], Iterator[Finding]]]]:
        yield "settings", self._of_settings
        yield "database", self._of_database
        yield "keyring", self._of_keyring
        yield "TLS", self._of_tls
        yield "clock", self._of_clock
        yield "proxy", self._of_proxy

    def _of_settings(self) -> Iterator[Finding]:
        from sessions_server.exposure import check_exposure
        from sessions_server.security.tokens import open_authenticator
        from sessions_server.workers.ports import check_workers

        unknown = list(unknown_variables(os.environ))
        yield from ((NOTE, sentence) for sentence in unknown)
        check_exposure(self._settings)
        check_workers(self._settings)
        open_authenticator(self._settings.tokens)
        given = sorted(self._settings.given)
        names = ", ".join(f"{PREFIX}{name.upper()}" for name in given) or "none, so all have their defaults"
        yield OK, f"Given: {names}."

    def _of_database(self) -> Iterator[Finding]:
        from sessions_server.storage.databases import opening, parse_url
        from sessions_server.storage.migrations import HEAD

        backend = parse_url(self._settings.database_url)
        with opening(backend):
            survey = asyncio.run(backend.survey(allow_unsafe=self._settings.allow_unsafe_durability))
        if survey.schema is not None and survey.schema > HEAD:
            raise SetupError(
                f"{survey.name} was upgraded by a newer release; upgrade this server, or restore the backup from "
                "before."
            )
        self._survey = survey
        if survey.served_by:
            yield OK, f"A server has it open: {survey.served_by}."
        if survey.schema is None:
            yield OK, f"{survey.name}: the first start makes the tables."
        elif survey.schema == HEAD:
            yield OK, f"{survey.name}: the tables are up to date."
        else:
            yield NOTE, f"{survey.name}: the next start upgrades the tables, for good; make a backup first."

    def _of_keyring(self) -> Iterator[Finding]:
        needed = self._needed_keys()
        if self._settings.keyring is None:
            if needed:
                raise SetupError(
                    "The database has encrypted sessions, and there is no keyring; name theirs in SESSIONS_KEYRING."
                )
            yield (
                NOTE,
                "There is none, so encrypted sessions are refused; `sessions-server keyring new` makes one.",
            )
            return
        from sessions_server.security.keyring import load_keyring

        keyring = load_keyring(self._settings.keyring)
        keys = {info.id for info in keyring.infos()}
        if missing := sorted(needed - keys):
            named = ", ".join(map(str, missing))
            raise SetupError(
                f"The keyring lacks keys that the database needs ({named}); put them back from a copy of the file."
            )
        older = sorted(needed - {keyring.current})
        yield OK, f"Keys: {', '.join(map(str, sorted(keys)))}; new sessions get key {keyring.current}."
        if older:
            yield (
                NOTE,
                "Some sessions' keys are wrapped by an older key; a running server rewraps them.",
            )

    def _needed_keys(self) -> set[int]:
        """The numbers of the keys by which data keys of the database are wrapped."""
        if self._survey is None or not self._survey.wrappings:
            return set()
        from sessions_server.security.cells import wrapping_key

        return {wrapping_key(each) for each in self._survey.wrappings}

    def _of_tls(self) -> Iterator[Finding]:
        from sessions_server.optional_parts import open_tls

        tls = open_tls(self._settings)
        if tls is None:
            yield (
                NOTE,
                "There is none; only programs of this machine, or a proxy with TLS, should reach the server.",
            )
            return
        left = tls.expires() - datetime.now(UTC)
        if left < SOON:
            yield NOTE, f"A certificate expires in {left.days} days; renew it. No restart is needed."
        else:
            yield OK, f"The certificates are valid for {left.days} days."

    def _of_clock(self) -> Iterator[Finding]:
        if self._survey is None:
            yield NOTE, "Nothing to compare with, since the database cannot be used."
            return
        ahead = self._survey.seconds_ahead
        if abs(ahead) <= TOLERATED_SECONDS:
            yield OK, f"It agrees with the database; it is {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC."
            return
        word = "behind" if ahead > 0 else "ahead of"
        raise SetupError(
            f"This machine's clock is {abs(ahead):.0f} seconds {word} the database's; set both by NTP, or sessions and "
            "tokens expire at the wrong time."
        )

    def _of_proxy(self) -> Iterator[Finding]:
        if self._through is None:
            yield NOTE, "Not checked; give the address that clients use with --through."
            return
        if not self._through:
            raise SetupError("--through is empty; give the address that clients use.")
        from sessions_server.rpc.probe import probe

        yield from ((OK, sentence) for sentence in asyncio.run(probe(self._through)))
