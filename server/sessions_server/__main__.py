"""The command line. Every failure prints one sentence on standard error and exits with a nonzero code."""

from __future__ import annotations

import asyncio
import gc
import sys

from sessions_server.commands.missing import sentence_for

try:
    import typer

    from sessions_server.commands import data
    from sessions_server.commands.doctor import doctor
    from sessions_server.commands.flags import with_settings
    from sessions_server.commands.keyring import keyring
    from sessions_server.commands.running import make_gc_rare, run, use_all_descriptors
    from sessions_server.commands.share import share
    from sessions_server.commands.token import token
    from sessions_server.commands.worker import worker
    from sessions_server.domain.errors import DomainError, SetupError
    from sessions_server.serving import Addresses
    from sessions_server.settings import SETTINGS, Settings
except ImportError as error:
    sys.exit(sentence_for(error))

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Keeps the state of conversations, and serves it over gRPC and HTTP.",
)


@cli.command()
@with_settings(*SETTINGS)
def serve(*, settings: Settings) -> None:
    """Serves sessions until SIGTERM or SIGINT.

    Then it finishes the calls in flight, and stops.
    """
    use_all_descriptors()
    if settings.workers > 1:
        from sessions_server.workers.supervisor import supervise

        raise typer.Exit(asyncio.run(supervise(settings, ready=_announce)))
    from sessions_server.app import serve as serve_app

    run(serve_app(settings, ready=_announce))


def _announce(addresses: Addresses) -> None:
    typer.echo(f"listening on {addresses.rpc}")
    if addresses.http:
        typer.echo(f"HTTP on {addresses.http}")


cli.command("doctor")(doctor)
cli.add_typer(keyring, name="keyring")
cli.command("share", hidden=True)(share)
cli.command("export")(data.export)
cli.command("import")(data.import_)
cli.command("vacuum")(data.vacuum)
cli.add_typer(token, name="token")
cli.command("worker", hidden=True)(worker)


def main() -> None:
    make_gc_rare()
    try:
        cli()
    except (DomainError, SetupError) as error:
        sys.exit(f"sessions-server: {error}")
    except ImportError as error:
        sys.exit(sentence_for(error))
    finally:
        gc.freeze()  # the end of the process frees all of it, without looking for cycles


if __name__ == "__main__":
    main()
