"""The verb audit: what was done, by whom, and whether the chain of its rows is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.output import DEFAULT_URL, AsJson, ExitCode, GatewayUrl, end, print_json, print_table

app = typer.Typer(help="List audit events, check their chain.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def audit(
    context: typer.Context,
    case_id: Annotated[str, typer.Option("--case", help="Only events of this case.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most events.")] = 50,
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List audit events, newest first."""
    if context.invoked_subcommand is not None:
        return
    from gateway.client.http import GatewayClient

    events = GatewayClient(url).get("/api/v1/audit", case_id=case_id, limit=limit)
    if as_json:
        print_json(events)
        return
    rows = [(e["id"], e["at"], e["actor"], e["action"], e["case_id"], e["subject"]) for e in events]
    print_table(("event", "at", "actor", "action", "case", "subject"), rows, empty="no events")


@app.command()
def verify(url: GatewayUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Check that the audit trail is whole.

    Exit code 1 if a row was changed or removed.
    """
    from gateway.client.http import GatewayClient

    answer = GatewayClient(url).get("/api/v1/audit/verify")
    if as_json:
        print_json(answer)
    elif answer["whole"]:
        typer.echo(f"{answer['events']} events, the chain is whole; its head is {answer['head']}")
    if not answer["whole"]:
        end(ExitCode.FAILED, f"event {answer['first_broken']} does not fit: a row was changed or removed")
