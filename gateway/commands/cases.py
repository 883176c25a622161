"""Verbs about cases of a running gateway: cases, show, review, edit, bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands.output import DEFAULT_URL, AsJson, ExitCode, GatewayUrl, end, print_facts, print_json, print_table
from gateway.domain.case import CaseState
from gateway.domain.qc_status import QcStatus


def _case_id(value: str) -> str:
    if not value.isalnum():
        raise typer.BadParameter("a case id is made of letters and digits, as 'overread cases' lists it")
    return value


CaseId = Annotated[str, typer.Argument(callback=_case_id, help="Id of the case, as 'overread cases' lists it.")]


def cases(
    state: Annotated[CaseState | None, typer.Option(case_sensitive=False, help="Only cases in this state.")] = None,
    qc_status: Annotated[
        QcStatus | None, typer.Option(case_sensitive=False, help="Only cases with this QC status.")
    ] = None,
    study_uid: Annotated[str, typer.Option("--study", help="Only cases of this Study Instance UID.")] = "",
    assignee: Annotated[str, typer.Option(help="Only cases of this QC assignee.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most cases.")] = 50,
    cursor: Annotated[str, typer.Option(help="Continue after the page that printed this cursor.")] = "",
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List cases, newest change first."""
    from gateway.client.http import GatewayClient

    page = GatewayClient(url).get(
        "/api/v1/cases",
        state=state,
        qc_status=qc_status,
        study_uid=study_uid,
        assignee=assignee,
        limit=limit,
        cursor=cursor,
    )
    if as_json:
        print_json(page)
        return
    print_cases(page["cases"])
    if page.get("next_cursor"):
        typer.echo(f"more: --cursor {page['next_cursor']}")


def show(
    case_id: CaseId,
    must_accept: Annotated[
        bool, typer.Option("--check", help="End with exit code 5 unless the verdict is ACCEPT.")
    ] = False,
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show one case.

    Verdict with reasons, and every iteration with what ran, what was reused and what was delivered.
    """
    from gateway.client.http import GatewayClient

    case = GatewayClient(url).get(f"/api/v1/cases/{case_id}")
    if as_json:
        print_json(case)
    else:
        print_case(case)
    if must_accept and not is_case_accepted(case):
        raise typer.Exit(ExitCode.NOT_ACCEPTED)


def review(
    case_id: CaseId,
    qc_status: Annotated[QcStatus, typer.Argument(help="The decision.", case_sensitive=False)],
    comment: Annotated[str, typer.Option("--comment", "-m", help="Quality Control Comments.")] = "",
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Record your decision on a case.

    It is refused, with the reason, where it is not legal now.
    """
    from gateway.client.http import GatewayClient

    content = {"qc_status": qc_status.value, "comment": comment}
    case = GatewayClient(url).post(f"/api/v1/cases/{case_id}/qc", content)
    if as_json:
        print_json(case)
    else:
        typer.echo(f"{case_id}: {qc_status.value}")


def edit(
    case_id: CaseId,
    file: Annotated[
        Path, typer.Argument(help="The edited SEG, NIfTI label map or RT structure set.", exists=True, dir_okay=False)
    ],
    stage: Annotated[
        str, typer.Option(help="Stage it is an edit of; NIfTI label maps and structure sets need it.")
    ] = "",
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Hand in an edit for a case.

    A SEG, or with its stage a NIfTI label map (ITK-SNAP) or an RT structure set. Prints what became of it: accepted,
    held with reasons, or unchanged.
    """
    from gateway.client.http import GatewayClient

    media_type = "application/x-nifti" if file.name.endswith((".nii", ".nii.gz")) else "application/dicom"
    answer = GatewayClient(url).post_file(f"/api/v1/cases/{case_id}/edits", file, media_type, stage=stage)
    if as_json:
        print_json(answer)
    else:
        print_facts({key: answer[key] for key in ("outcome", "case_id", "stage", "iteration", "hold_id")})
        for reason in answer["reasons"]:
            typer.echo(f"  {reason['code']}: {reason['detail']}")
    if answer["hold_id"]:
        end(ExitCode.FAILED, "the edit is held: 'overread holds' lists it, a person decides")


def bundle(
    case_id: CaseId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; CASE.zip when left out.")
    ] = None,
    url: GatewayUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Download every output of a case.

    The zip holds a manifest with hashes. Taking it makes you the QC assignee.
    """
    from gateway.client.http import GatewayClient

    target = output or Path(f"{case_id}.zip")
    size = GatewayClient(url).download(f"/api/v1/cases/{case_id}/bundle", target)
    if as_json:
        print_json({"file": str(target), "bytes": size})
    else:
        typer.echo(f"wrote {target} ({size} bytes)")


def is_case_accepted(case: Mapping[str, Any]) -> bool:
    """Whether the machine's verdict on a case is ACCEPT."""
    return _outcome(case) == "ACCEPT"


def print_cases(found: Sequence[Mapping[str, Any]]) -> None:
    """Print cases as lines of a worklist."""
    keys = ("id", "pipeline", "iteration", "state", "qc_status", "qc_assignee")
    print_table(
        ("case", "pipeline", "iteration", "state", "QC status", "assignee", "verdict"),
        [(*(case[key] for key in keys), _outcome(case)) for case in found],
        empty="no cases",
    )


def print_case(case: Mapping[str, Any]) -> None:
    """Print a case for people."""
    print_facts(
        {
            "case": case["id"],
            "pipeline": case["pipeline"],
            "study": case["study_instance_uid"],
            "state": case["state"],
            "verdict": _outcome(case),
            "QC status": case["qc_status"],
            "QC assignee": case["qc_assignee"],
            "QC comment": case["qc_comment"],
            "generation, iteration": f"{case['generation']}, {case['iteration']}",
        }
    )
    for reason in (case["verdict"] or {}).get("reasons", []):
        typer.echo(f"  {reason['outcome']}: {reason['text']}")
    for iteration in case["iterations"]:
        typer.echo(f"\niteration {iteration['number']} of generation {iteration['generation']} ({iteration['cause']})")
        runs = iteration["stage_runs"]
        print_table(
            ("stage", "outcome", "seconds", "key"),
            [(run["stage"], run["outcome"] or run["state"], f"{run['seconds']:.2f}", run["key"][:12]) for run in runs],
            empty="no stage has run",
        )
        for output in iteration["outputs"]:
            mark = "delivered" if output["delivered"] else "not delivered"
            typer.echo(f"  {output['kind']} {output['stage']} {output['sop_instance_uid']} {mark}")


def _outcome(case: Mapping[str, Any]) -> str:
    verdict = case.get("verdict")
    return str(verdict.get("outcome", "")) if isinstance(verdict, Mapping) else str(verdict or "")
