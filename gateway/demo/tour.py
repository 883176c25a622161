"""The tour: a gateway on an empty data folder, a study over real C-STORE, its verdict, an edit, and what ran again."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.client.http import GatewayClient
from gateway.client.sending import find_parcels, is_accepted, send_parcels
from gateway.client.waiting import Settled, wait_for_verdicts
from gateway.demo.interruption import Interruption
from gateway.demo.pacs import StandInPacs
from gateway.demo.viewer import edit_seg
from gateway.dimse.scu import RemoteNode
from gateway.domain.errors import GatewayError
from gateway.services.courier import Parcel

Say = Callable[[str], None]

_READY = re.compile(r"overread ready dicom=(?P<host>[^:]+):(?P<port>\d+) aet=(?P<aet>\S+) http=(?P<http>\S+)")
_READY_S = 120.0
_VERDICT_S = 600.0
_DELIVERY_S = 60.0


class DemoFailed(GatewayError):
    """The loop did not go round."""

    code = "DEMO_FAILED"


class Tour:
    """One demonstration: its folder, its gateway process and its stand-in PACS, which run inside ``with``.

    Parameters
    ----------
    folder : Path
        Empty folder for the gateway's data, the PACS and the edited object.
    say : callable
        Prints a line.
    interruption : Interruption
        What may end it early.
    ports : tuple of int, (dicom, http)
        Ports of the gateway; 0 takes a free one.
    """

    def __init__(self, folder: Path, say: Say, *, interruption: Interruption, ports: tuple[int, int] = (0, 0)) -> None:
        self._folder = folder
        self._say = say
        self._interruption = interruption
        self._ports = ports
        self._running = ExitStack()

    def __enter__(self) -> Self:
        """Start the PACS and the gateway; whatever interrupts that, nothing is left running."""
        with self._running as starting:
            self._pacs = StandInPacs(self._folder / "pacs")
            starting.callback(self._pacs.stop)
            with self._interruption.held_back():
                self._process = self._start()
                starting.callback(self._stop_gateway)
            ready = self._wait_ready()
            self._running = starting.pop_all()
        self._host, self._port, self._aet = ready["host"], int(ready["port"]), ready["aet"]
        self.url = f"http://{ready['http']}"
        self._client = GatewayClient(self.url, token="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the gateway and the PACS; both finish what they are doing."""
        self._running.close()

    def run(self, parcels: list[Parcel]) -> str:
        """Go round the loop once with the instances of one study; return the id of its case.

        Raises
        ------
        DemoFailed
            If any part of it does not happen.
        """
        self._say(f"gateway   ready: DICOM {self._host}:{self._port} as {self._aet}, pages at {self.url}/")
        case = self._first_run(parcels)
        editable = [o for o in case["iterations"][-1]["outputs"] if o["kind"] == "SEG"]
        if not editable:
            raise DemoFailed(f"no segmentation was made, so there is nothing to edit: verdict {_verdict(case)}")
        self._edit(
            case, editable[-1], [p.path for p in parcels if p.series_instance_uid == case["series_instance_uid"]]
        )
        return str(case["id"])

    def wait(self) -> None:
        """Wait until the gateway process ends."""
        self._process.wait()

    def _stop_gateway(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _first_run(self, parcels: list[Parcel]) -> dict[str, Any]:
        started = time.monotonic()
        self._send(parcels, calling="SCANNER")
        self._say(f"received  {len(parcels)} instances over C-STORE, each durable before it was acknowledged")
        studies = {parcel.study_instance_uid for parcel in parcels}
        case = _one(wait_for_verdicts(self._client, studies, timeout_s=_VERDICT_S))
        self._report(case, 0, time.monotonic() - started)
        return case

    def _edit(self, case: dict[str, Any], output: dict[str, Any], images: list[Path]) -> None:
        edited, painted = edit_seg(self._pacs.path(output["sop_instance_uid"]), images, seed=1)
        path = self._folder / "edited.dcm"
        edited.save_as(path, enforce_file_format=True)
        started = time.monotonic()
        self._send(find_parcels([path]), calling="READER1")
        self._say("")
        self._say(f"edited    {output['stage']}: {painted} voxels brushed in a stand-in viewer, sent back as it saves")
        case = _one(wait_for_verdicts(self._client, {case["study_instance_uid"]}, timeout_s=_VERDICT_S, iteration=1))
        self._say("accepted  by labels and masks: viewers drop codes, tracking ids and the link to the original")
        self._report(case, 1, time.monotonic() - started)
        outcomes = {run["stage"]: run["outcome"] for run in case["iterations"][-1]["stage_runs"]}
        if outcomes.get(output["stage"]) != "REPLACED" or "REUSED" not in outcomes.values():
            raise DemoFailed("the edit did not replace its stage, or nothing upstream was reused")

    def _report(self, case: dict[str, Any], number: int, seconds: float) -> None:
        iteration = next(i for i in case["iterations"] if i["number"] == number)
        if case["state"] == "HELD":
            raise DemoFailed(f"the case is held: {case['state_reason']}")
        self._say(f"verdict   {_verdict(case)} after {seconds:.1f} s (quiet time included)")
        for reason in (case["verdict"] or {}).get("reasons", [])[:3]:
            self._say(f"            because {reason['text']}")
        for run in iteration["stage_runs"]:
            self._say(f"          {run['outcome']:<9} {run['stage']:<16} {run['seconds']:6.2f} s")
        self._await_delivery(iteration["outputs"])
        names = self._pacs.names()
        for output in iteration["outputs"]:
            self._say(f"delivered {output['kind']:<13} {names[output['sop_instance_uid']]}")

    def _await_delivery(self, outputs: Sequence[dict[str, Any]]) -> None:
        deadline = time.monotonic() + _DELIVERY_S
        while not all(self._pacs.path(output["sop_instance_uid"]).exists() for output in outputs):
            if time.monotonic() > deadline:
                raise DemoFailed(f"not everything was delivered within {_DELIVERY_S:.0f} s")
            time.sleep(0.2)

    def _send(self, parcels: list[Parcel], *, calling: str) -> None:
        remote = RemoteNode(ae_title=self._aet, host=self._host, port=self._port, calling_aet=calling)
        refused = [r for r in send_parcels(parcels, remote) if not is_accepted(r)]
        if refused:
            raise DemoFailed(f"{len(refused)} instances were refused: {refused[0].detail}")

    def _start(self) -> subprocess.Popen[str]:
        config = self._folder / "overread.yaml"
        config.write_text(_CONFIG.format(port=self._pacs.port), encoding="utf-8")
        command = ["serve", "--config", str(config), "--data", str(self._folder / "data")]
        command += ["--dicom-port", str(self._ports[0]), "--http-port", str(self._ports[1])]
        with (self._folder / "gateway.log").open("w", encoding="utf-8") as log:
            return subprocess.Popen(
                [sys.executable, "-c", "from gateway.cli import main; main()", *command],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def _wait_ready(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = _READY.match(line)
        if found is None:
            self._process.wait(_READY_S)
            log = (self._folder / "gateway.log").read_text(encoding="utf-8").strip().splitlines()
            raise DemoFailed(f"the gateway did not start: {log[-1] if log else 'it said nothing'}")
        return found.groupdict()


def _one(settled: Settled) -> dict[str, Any]:
    if settled.untaken:
        raise DemoFailed(f"the study is {'; '.join(settled.untaken)}")
    if len(settled.cases) != 1:
        raise DemoFailed(f"one case was expected, {len(settled.cases)} were opened")
    return settled.cases[0]


def _verdict(case: dict[str, Any]) -> str:
    return str(case["verdict"]["outcome"]) if case["verdict"] else "none"


_CONFIG = """\
node: {{quiet_seconds: 1.5}}
destinations:
  - {{name: pacs, kind: dicom, ae_title: DEMOPACS, host: 127.0.0.1, port: {port}, read_back: false}}
pipelines:
  - {{use: hippocampus-mr, destinations: [pacs]}}
"""
