"""The verb fetch: a study that a peer holds is sent to the gateway, or the candidates are listed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from gateway.commands.output import DEFAULT_URL, AsJson, ExitCode, GatewayUrl, end, print_json, print_table

#: What the gateway may need beside the time it was given: queries, associations, and a cancelled peer's end.
_MARGIN_SECONDS = 180.0


class Way(StrEnum):
    """How instances are asked for."""

    ANY = "any"
    GET = "get"
    MOVE = "move"


def fetch(  # noqa: PLR0913 - one argument per option
    study_uid: Annotated[str, typer.Argument(help="Study Instance UID.")] = "",
    peer: Annotated[str, typer.Option("--from", help="AE title of the peer, as in node.peers.")] = "",
    *,
    list_only: Annotated[bool, typer.Option("--list", help="List what the peer has, and fetch nothing.")] = False,
    patient_id: Annotated[str, typer.Option(help="With --list: Patient ID, exactly.")] = "",
    date: Annotated[str, typer.Option(help="With --list: study date YYYYMMDD, or a range with a hyphen.")] = "",
    called: Annotated[str, typer.Option("--called", help="AE title of ours to receive it under.")] = "",
    way: Annotated[Way, typer.Option("--by", help="C-GET, C-MOVE, or C-GET where the peer takes it.")] = Way.ANY,
    seconds: Annotated[float, typer.Option(min=1, max=7200, help="Cancel it after this long.")] = 600.0,
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Fetch a study from a peer, to be processed like any other."""
    from gateway.client.http import GatewayClient

    if not peer:
        end(ExitCode.USAGE, "name the peer: --from AE_TITLE, one of node.peers")
    at_peer = f"/api/v1/peers/{quote(peer, safe='')}"
    if list_only:
        query = {"patient_id": patient_id, "study_instance_uid": study_uid, "study_date": date}
        _print_studies(GatewayClient(url).post(f"{at_peer}/studies", query), as_json=as_json)
        return
    if not study_uid:
        end(ExitCode.USAGE, "name a Study Instance UID, or list candidates: --list with --patient-id or --date")
    order = {"study_instance_uid": study_uid, "called_aet": called, "way": way.value, "seconds": seconds}
    fetched = GatewayClient(url).post(f"{at_peer}/fetch", order, answer_seconds=seconds + _MARGIN_SECONDS)
    if as_json:
        print_json(fetched)
    else:
        typer.echo(f"{peer} by {fetched['service']}: {fetched['sentence']}")
    if not fetched["is_complete"]:
        end(ExitCode.FAILED)


def _print_studies(studies: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print_json(studies)
        return
    columns = ("study_instance_uid", "study_date", "modalities", "series", "instances", "description")
    rows = [[_joined(study[column]) for column in columns] for study in studies]
    titles = ("study", "date", "modalities", "series", "instances", "description")
    print_table(titles, rows, empty="the peer has no such study")


def _joined(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, list) else value
