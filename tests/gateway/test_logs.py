"""No patient data in logs, whichever hole it tries: each test pushes a marked value and reads all that came out."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import StageFailed
from gateway.logs import describe_exception, uid_tag

CANARY = "CANARY^MARKED"
ROOT = Path(__file__).resolve().parents[2]


def said(body: str, *, configured: bool = True, **environment: str) -> tuple[list[dict[str, Any]], str]:
    """Run `body` in a process of its own with logs configured; return the events and all of its output."""
    start = "logs.configure()" if configured else "import logging; logging.basicConfig(level=logging.DEBUG)"
    script = f"CANARY = {CANARY!r}\nfrom gateway import logs\n{start}\n" + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": "/usr/bin", "PYTHONWARNINGS": "default", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = done.stderr.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")], done.stdout + done.stderr


LEAKS = [
    pytest.param(
        """
            import pydicom
            pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
            pydicom.Dataset().PatientBirthDate = CANARY
            """,
        "UserWarning at pydicom/",
        id="a pydicom warning that quotes a birth date",
    ),
    pytest.param(
        """
            from highdicom.valuerep import check_person_name
            check_person_name(CANARY.replace("^", ""))
            """,
        "UserWarning at",
        id="a highdicom warning that quotes a name",
    ),
    pytest.param(
        """
            import logging
            logging.getLogger("pydicom").error("cannot read %s", CANARY)
            """,
        "pydicom: message withheld",
        id="a library's log record",
    ),
    pytest.param(
        """
            import logging
            logging.getLogger("pynetdicom.events").error("handler failed on " + CANARY)
            """,
        "pynetdicom.events: message withheld",
        id="a record of pynetdicom",
    ),
    pytest.param(
        """
            import logging
            try:
                raise ValueError(CANARY) from KeyError(CANARY)
            except ValueError:
                logging.getLogger("gateway.services").exception("the stage failed")
            """,
        "the stage failed",
        id="the message of an exception that we log",
    ),
    pytest.param(
        """
            import structlog
            structlog.get_logger("gateway.x").warning("refused", error=ValueError(CANARY), patient_name=CANARY)
            """,
        "refused",
        id="an exception or an attribute given as a value",
    ),
    pytest.param(
        """
            import threading
            def work():
                raise ValueError(CANARY)
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            """,
        "uncaught exception in a thread",
        id="an exception that ends a thread",
    ),
    pytest.param("raise ValueError(CANARY)", "uncaught exception", id="an exception that ends the process"),
    pytest.param(
        """
            class Finalised:
                def __del__(self):
                    raise ValueError(CANARY)
            Finalised()
            """,
        "exception that nobody could catch",
        id="an exception in a finaliser",
    ),
    pytest.param(
        """
            import asyncio
            async def work():
                task = asyncio.get_running_loop().create_task(fail())
                await asyncio.sleep(0.01)
            async def fail():
                raise ValueError(CANARY)
            asyncio.run(work())
            """,
        "asyncio: message withheld",
        id="an exception that nobody awaited",
    ),
    pytest.param(
        """
            import logging
            logging.getLogger("uvicorn.access").info("GET /studies?PatientName=" + CANARY)
            logging.getLogger("urllib3.connectionpool").warning("GET /studies?PatientName=" + CANARY)
            """,
        "urllib3.connectionpool: message withheld",
        id="a query in an address",
    ),
]


@pytest.mark.parametrize(("body", "told"), LEAKS)
def test_a_marked_value_never_comes_out_and_the_event_does(body: str, told: str) -> None:
    events, output = said(body)
    assert CANARY not in output
    assert "CANARYMARKED" not in output
    assert any(event["event"].startswith(told) for event in events), output


@pytest.mark.parametrize(("body", "told"), LEAKS[:1] + LEAKS[2:5] + LEAKS[6:8])
def test_the_holes_are_real_without_our_logs(body: str, told: str) -> None:
    _, output = said(body, configured=False)
    assert CANARY in output, told


def test_a_real_association_that_fails_on_a_marked_dataset_keeps_quiet() -> None:
    """Identifiers of queries and messages of handlers are what pynetdicom logs; both hold the marked name here."""
    events, output = said(
        """
        import logging
        from pydicom import Dataset
        from pynetdicom import AE, evt
        from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind as FIND
        logging.getLogger("pynetdicom").setLevel(logging.DEBUG)
        logs.configure()
        def find(event):
            raise ValueError(str(event.identifier))
            yield
        scp = AE(); scp.add_supported_context(FIND)
        server = scp.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
        scu = AE(); scu.add_requested_context(FIND)
        association = scu.associate(*server.socket.getsockname()[:2])
        wanted = Dataset(); wanted.PatientName = CANARY; wanted.QueryRetrieveLevel = "PATIENT"
        print([hex(status.Status) for status, _ in association.send_c_find(wanted, FIND)])
        association.release(); server.shutdown()
        """
    )
    assert "0xc311" in output
    assert CANARY not in output
    assert any(event["logger"].startswith("pynetdicom") for event in events)


def test_our_own_events_keep_their_words_and_their_context() -> None:
    events, _ = said(
        """
        import logging, structlog
        structlog.contextvars.bind_contextvars(case="c0123")
        structlog.get_logger("gateway.assemble").info("case opened", series=3)
        logging.getLogger("models.train").info("step %d", 7)
        """
    )
    opened, step = events
    assert (opened["event"], opened["case"], opened["series"], opened["level"]) == ("case opened", "c0123", 3, "info")
    assert (step["event"], step["case"]) == ("step 7", "c0123")
    assert opened["timestamp"].endswith("Z")


def test_our_own_errors_keep_code_and_detail() -> None:
    events, _ = said(
        """
        import logging
        from gateway.domain.errors import StorageFull
        try:
            raise StorageFull("no room")
        except StorageFull:
            logging.getLogger("gateway").exception("cannot receive")
        """
    )
    assert events[0]["error"] == "StorageFull STORAGE_FULL: no room"


def test_console_form_is_chosen_by_the_environment() -> None:
    events, output = said("import logging; logging.getLogger('gateway').info('hello')", OVERREAD_LOG="console")
    assert events == []
    assert "hello" in output


def test_a_described_exception_says_type_and_place_and_not_its_message() -> None:
    try:
        int(CANARY)
    except ValueError as error:
        described = describe_exception(error)
    assert described.startswith("ValueError at gateway/test_logs.py:")
    assert CANARY not in described
    assert describe_exception(StageFailed("it stopped", code="X")) == "StageFailed X: it stopped"


def test_uid_tags_tell_uids_apart_without_telling_them() -> None:
    assert uid_tag("1.2.3") == uid_tag("1.2.3") != uid_tag("1.2.4")
    assert len(uid_tag("1.2.3")) == 8
    assert "1.2.3" not in uid_tag("1.2.3")
