"""The verb holds: what waits for a person, and what to do with it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gateway.commands.output import DEFAULT_URL, AsJson, GatewayUrl, print_json, print_table

app = typer.Typer(help="List held objects, accept or discard one.", rich_markup_mode=None)


class Resolution(StrEnum):
    """What to do with a held object."""

    ACCEPT = "accept"
    DISCARD = "discard"


@app.callback(invoke_without_command=True)
def holds(context: typer.Context, url: GatewayUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List held objects with the reasons why they wait."""
    if context.invoked_subcommand is not None:
        return
    from gateway.client.http import GatewayClient

    held = GatewayClient(url).get("/api/v1/holds")
    if as_json:
        print_json(held)
        return
    rows = [
        (hold["id"], hold["held_at"], hold["sender"], hold["case_id"], hold["stage"], reason["code"], reason["detail"])
        for hold in held
        for reason in hold["reasons"]
    ]
    print_table(("hold", "since", "sender", "case", "stage", "reason", ""), rows, empty="nothing is held")


@app.command()
def resolve(
    hold_id: Annotated[int, typer.Argument(help="Number of the held object.")],
    action: Annotated[Resolution, typer.Argument(help="What to do with it.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the audit trail.")],
    case_id: Annotated[str, typer.Option("--case", help="Case it belongs to, where that is not clear.")] = "",
    stage: Annotated[str, typer.Option(help="Stage whose output it replaces, where that is not clear.")] = "",
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Accept or discard a held object."""
    from gateway.client.http import GatewayClient

    content = {"action": action.value, "case_id": case_id or None, "stage": stage or None, "reason": reason}
    answer = GatewayClient(url).post(f"/api/v1/holds/{hold_id}/resolve", content)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"hold {hold_id}: {action.value}ed")
