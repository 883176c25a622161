"""A data folder with a case, its outputs and their deliveries, as `report` would have written them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlmodel import select

from gateway.domain.case import CaseState
from gateway.domain.errors import GatewayError
from gateway.services.courier import Carried, Parcel, Receipt
from gateway.store.tables import AuditEvent, Case, Delivery, Output, Study
from tests.support.instances import EXPLICIT, SEG, make_instance, uid
from tests.support.receiving import ReceivingFolder


@dataclass
class FakeCourier:
    """Carries nothing; answers what it is told to, and notes what it was given.

    Parameters
    ----------
    answers : list
        For each call in turn: one `Carried` for all, one for each parcel, or an error to raise; the last one stays.
    """

    answers: list[Carried | Sequence[Carried] | GatewayError] = field(default_factory=lambda: [Carried.CONFIRMED])
    calls: list[tuple[str, list[str]]] = field(default_factory=list)

    def carry(self, parcels: Sequence[Parcel], *, read_back: bool) -> list[Receipt]:
        """Answer as told."""
        return self._answer("carry+read_back" if read_back else "carry", parcels)

    def look_up(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        """Answer as told."""
        return self._answer("look_up", parcels)

    def _answer(self, call: str, parcels: Sequence[Parcel]) -> list[Receipt]:
        self.calls.append((call, [parcel.sop_instance_uid for parcel in parcels]))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, GatewayError):
            raise answer
        carried = [answer] * len(parcels) if isinstance(answer, Carried) else list(answer)
        return [
            Receipt(
                sop_instance_uid=parcel.sop_instance_uid, carried=one, detail="" if one == "CONFIRMED" else "said so"
            )
            for parcel, one in zip(parcels, carried, strict=True)
        ]


class Outbox(ReceivingFolder):
    """A receiving folder whose outbox can be filled."""

    def add(self, number: int, *, case: str = "C1", destination: str = "PACS", **attributes: object) -> str:
        """Add an output and its delivery; return the SOP Instance UID."""
        content = make_instance(number, study=case, series="out", **{"sop_class": SEG, **attributes})  # type: ignore[arg-type]
        name = uid(case, "out", number)
        at = self.clock.now
        with self.database.write() as session:
            if session.get(Study, uid(case)) is None:
                session.add(Study(study_instance_uid=uid(case), first_received_at=at, last_received_at=at))
                session.flush()
                session.add(
                    Case(
                        id=case,
                        study_instance_uid=uid(case),
                        pipeline="p",
                        state=CaseState.IN_REVIEW,
                        opened_at=at,
                        changed_at=at,
                    )
                )
                session.flush()
            if session.get(Output, name) is None:
                session.add(
                    Output(
                        sop_instance_uid=name,
                        case_id=case,
                        generation=1,
                        iteration=0,
                        kind="SEG",
                        stage="s",
                        sop_class_uid=str(attributes.get("sop_class", SEG)),
                        series_instance_uid=uid(case, "out"),
                        study_instance_uid=uid(case),
                        transfer_syntax_uid=str(attributes.get("syntax", EXPLICIT)),
                        sha256=self.blobs.put(content),
                        size=len(content),
                        made_at=at,
                    )
                )
                session.flush()
            session.add(Delivery(sop_instance_uid=name, case_id=case, destination=destination, due_at=at))
        return name

    def states(self) -> list[str]:
        """Return the states of the deliveries in order."""
        return [row.state for row in self.deliveries()]

    def deliveries(self) -> list[Delivery]:
        """Return the deliveries in order."""
        with self.database.read() as session:
            return sorted(session.exec(select(Delivery)).all(), key=lambda row: row.id or 0)

    def actions(self) -> list[tuple[str, str]]:
        """Return audited actions with their proof."""
        return [(row.action, str(row.detail.get("proof", ""))) for row in self.rows(AuditEvent)]

    def parcel(self, name: str) -> Parcel:
        """Return an output as a courier is given it."""
        with self.database.read() as session:
            output = session.get_one(Output, name)
            return Parcel(
                sop_instance_uid=name,
                sop_class_uid=output.sop_class_uid,
                series_instance_uid=output.series_instance_uid,
                study_instance_uid=output.study_instance_uid,
                transfer_syntax_uid=output.transfer_syntax_uid,
                path=self.blobs.path(output.sha256),
            )


def make_outbox(folder: Path) -> Outbox:
    """Return an empty outbox."""
    return Outbox(folder)
