"""The verb deliveries: results on their way, dead ones again, and destinations that are paused or resumed."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from gateway.commands.output import DEFAULT_URL, AsJson, GatewayUrl, print_json, print_table
from gateway.domain.delivery import DeliveryState

app = typer.Typer(help="List and retry deliveries, pause destinations.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def deliveries(
    context: typer.Context,
    state: Annotated[
        DeliveryState | None, typer.Option(case_sensitive=False, help="Only these; without, all that have not arrived.")
    ] = None,
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List deliveries with what their destination said last."""
    if context.invoked_subcommand is not None:
        return
    from gateway.client.http import GatewayClient

    client = GatewayClient(url)
    states = [state] if state else [DeliveryState.DEAD, DeliveryState.SENT, DeliveryState.PENDING]
    found = [row for one in states for row in client.get("/api/v1/deliveries", state=one, limit=500)]
    if as_json:
        print_json(found)
        return
    rows = [(r["id"], r["state"], r["destination"], r["kind"], r["attempts"], r["last_failure"]) for r in found]
    titles = ("delivery", "state", "destination", "object", "failures", "last answer")
    print_table(titles, rows, empty="none" if state else "everything that was made has arrived")


@app.command()
def destinations(url: GatewayUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List destinations.

    How far their deliveries are, and which are paused.
    """
    from gateway.client.http import GatewayClient

    found = GatewayClient(url).get("/api/v1/destinations")
    if as_json:
        print_json(found)
        return
    rows = [
        (d["name"], d["where"], d["waiting"], d["sent"], d["delivered"], d["dead"], _pause(d), d["last_failure"])
        for d in found
    ]
    titles = ("destination", "where", "waiting", "sent", "delivered", "given up", "paused", "last answer")
    print_table(titles, rows, empty="no destination is configured")


@app.command()
def retry(
    delivery_id: Annotated[int | None, typer.Argument(help="Number of the delivery; every dead one without.")] = None,
    destination: Annotated[str, typer.Option(help="Without a number: only of this destination.")] = "",
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send dead deliveries again.

    Their UIDs stay, so a second copy does no harm.
    """
    from gateway.client.http import GatewayClient

    client = GatewayClient(url)
    dead = [delivery_id]
    if delivery_id is None:
        found = client.get("/api/v1/deliveries", state="DEAD", destination=destination, limit=500)
        dead = [row["id"] for row in found]
    retried = [client.post(f"/api/v1/deliveries/{one}/retry", {}) for one in dead]
    if as_json:
        print_json(retried)
    else:
        typer.echo(f"{len(retried)} deliveries are on their way again")


@app.command()
def pause(
    destination: Annotated[str, typer.Argument(help="Name of the destination.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for whoever wonders.")] = "",
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send nothing to a destination for now.

    What is made for it waits until it is resumed.
    """
    _steer(url, destination, "pause", {"reason": reason}, as_json=as_json)


@app.command()
def resume(
    destination: Annotated[str, typer.Argument(help="Name of the destination.")],
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send to a paused destination again."""
    _steer(url, destination, "resume", {}, as_json=as_json)


def _steer(url: str, destination: str, act: str, content: dict[str, object], *, as_json: bool) -> None:
    from gateway.client.http import GatewayClient

    answer = GatewayClient(url).post(f"/api/v1/destinations/{quote(destination, safe='')}/{act}", content)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"destination {destination}: {act}d")


def _pause(destination: dict[str, str]) -> str:
    if not destination["paused_at"]:
        return ""
    why = f": {destination['pause_reason']}" if destination["pause_reason"] else ""
    return f"since {destination['paused_at']} by {destination['paused_by']}{why}"
