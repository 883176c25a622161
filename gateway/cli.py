"""The command `overread`: its verbs, and how each error becomes one line and an exit code.

Verbs live in `gateway.commands`; what is slow to import is imported inside them, so that ``overread --help`` is quick.
"""

from __future__ import annotations

import os
import sys

import typer

from gateway.commands import audit, cases, deliveries, demo, evaluation, fetch, holds, node, replay, setup, training
from gateway.commands.output import ExitCode

#: Error classes of the packages by their module's first name; the classes themselves are slow to import.
_EXIT_CODES = {
    "ConfigurationError": ExitCode.CONFIGURATION,
    "PeerUnreachable": ExitCode.PEER_UNREACHABLE,
}
_OWN_PACKAGES = ("gateway", "models", "orthanc", "dicom_sr")

app = typer.Typer(
    name="overread",
    help="A DICOM node that over-reads segmentations: verdicts as SEG and SR, edits taken back, partial reruns.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 configuration, 4 peer unreachable, 5 verdict not accepted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(setup.init)
app.command()(setup.check)
app.command()(node.serve)
app.command()(demo.demo)
app.command()(node.send)
app.command()(node.echo)
app.command()(fetch.fetch)
app.command()(cases.cases)
app.command()(cases.show)
app.command()(cases.review)
app.command()(cases.edit)
app.command()(cases.bundle)
app.add_typer(holds.app, name="holds")
app.add_typer(deliveries.app, name="deliveries")
app.command()(training.models)
app.command()(training.train)
app.command()(evaluation.evaluate)
app.command()(replay.replay)
app.add_typer(audit.app, name="audit")
app.command()(setup.conformance)
app.command()(setup.version)


def main() -> None:
    """Run the command line and end the process; an error is one line on standard error, never a stack trace."""
    try:
        app()
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except Exception as error:  # noqa: BLE001 - the outermost frame: whatever happened becomes a sentence
        sys.exit(_report(error))


def _report(error: Exception) -> ExitCode:
    detail = getattr(error, "detail", None)
    if type(error).__module__.partition(".")[0] in _OWN_PACKAGES and isinstance(detail, str):
        typer.echo("\n".join(f"overread: {line}" for line in detail.splitlines()), err=True)
        return _EXIT_CODES.get(type(error).__name__, ExitCode.FAILED)
    from gateway.logs import describe_exception

    typer.echo(f"overread: this should not happen: {describe_exception(error)}", err=True)
    return ExitCode.FAILED
