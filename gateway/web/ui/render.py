"""Render pages: the template environment, what every page shows, notices by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dicom_sr.finding_codes import finding_title
from dicom_sr.verdict_look import reason_text
from gateway.services import worklist
from gateway.services.worklist import Counts
from gateway.web.access import Identity
from gateway.web.problems import Problem
from gateway.web.request import services_of
from gateway.web.ui import view

THEME_COOKIE = "overread_theme"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence at the top of a page; `tone` is ``good``, ``warn`` or ``bad``."""

    tone: str
    text: str


#: What a page may say after an action, by the name in its URL: free text in a URL would let others put words here.
NOTICES: Mapping[str, Notice] = {
    "decided": Notice(tone="good", text="The decision is recorded."),
    "edit-accepted": Notice(tone="good", text="The edit was accepted; what it touches runs again."),
    "edit-ignored": Notice(tone="warn", text="The edit was kept, and changes nothing: it equals what is there."),
    "edit-pending": Notice(tone="warn", text="The edit is kept; whether it fits is being looked at."),
    "edit-held": Notice(tone="warn", text="The edit is kept and held for a person; the reason stands below."),
    "hold-accepted": Notice(tone="good", text="The held object was accepted."),
    "hold-discarded": Notice(tone="good", text="The held object was set aside; it stays on record."),
    "paused": Notice(tone="warn", text="The destination is paused: what is made for it waits until it is resumed."),
    "retried": Notice(tone="good", text="It is on its way again."),
    "uploaded": Notice(tone="good", text="The files were received; a case opens when the study is complete."),
    "upload-partly": Notice(tone="warn", text="Some files were received, others are no readable DICOM files."),
    "upload-refused": Notice(tone="bad", text="None of the files is a readable DICOM file."),
}


class Pages:
    """The pages of one application.

    Parameters
    ----------
    is_local : bool
        Whether no users are configured, so that nobody signs in or out.
    """

    def __init__(self, *, is_local: bool) -> None:
        self._is_local = is_local
        self._assets = _digest(static_folder())
        self._environment = Environment(
            loader=PackageLoader("gateway.web.ui"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["zip"] = zip
        self._environment.filters.update(
            person=view.person,
            day=view.day,
            ago=view.ago,
            seconds=view.seconds,
            size=view.size,
            number=view.number,
            short=view.short,
            sentence=view.sentence,
            sentence_case=view.sentence_case,
            finding_title=finding_title,
            reason_text=reason_text,
            state_word=lambda value: view.STATE_WORDS.get(value, value),
            verdict_word=lambda value: view.VERDICT_WORDS.get(value or "", value),
            qc_word=lambda value: view.QC_WORDS.get(value, value),
            output_word=lambda value: view.OUTPUT_WORDS.get(value, value),
            door_word=lambda value: view.DOOR_WORDS.get(value, value),
            facts=view.facts,
            code_marks=view.code_marks,
            uid_word=view.uid_word,
            cause_word=lambda value: view.CAUSE_WORDS.get(value, value),
        )

    def page(self, request: Request, template: str, *, status: int = 200, **content: object) -> HTMLResponse:
        """Render one page with what every page shows."""
        services = services_of(request)
        identity = getattr(request.state, "identity", None)
        common: dict[str, object] = {
            "identity": identity if isinstance(identity, Identity) else None,
            "is_local": self._is_local,
            "theme": "light" if request.cookies.get(THEME_COOKIE) == "light" else "dark",
            "assets": self._assets,
            "page": "",
            "here": _here(request),
            "now": services.clock(),
            "notice": NOTICES.get(request.query_params.get("notice", "")),
            "open_holds": 0,
            "dead_deliveries": 0,
        }
        if common["identity"] is not None and status < 500:
            counts = content.get("counts") or worklist.counts(services.database)
            assert isinstance(counts, Counts)
            common |= {"open_holds": counts.open_holds, "dead_deliveries": counts.dead_deliveries}
        return HTMLResponse(self._environment.get_template(template).render(common | content), status)

    def fragment(self, template: str, **content: object) -> HTMLResponse:
        """Render a part of a page."""
        return HTMLResponse(self._environment.get_template(template).render(content))

    def problem(self, request: Request, problem: Problem) -> HTMLResponse:
        """Render an error as a page."""
        return self.page(request, "error.html", status=problem.status, problem=problem)


class Assets(StaticFiles):
    """The static files, which browsers may keep: their URLs change with their content."""

    async def get_response(self, path: str, scope: Scope):  # type: ignore[no-untyped-def]
        """Answer with a file."""
        response = await super().get_response(path, scope)
        response.headers.setdefault("Cache-Control", "public, max-age=86400")
        return response


def pages_of(request: Request) -> Pages:
    """Return the pages of the running application."""
    pages = request.app.state.pages
    assert isinstance(pages, Pages)
    return pages


def wants_page(request: Request) -> bool:
    """Whether an error is best shown as a page: a browser asked for one, and not for the API."""
    is_api = request.url.path.startswith(("/api/", "/dicom-web"))
    return not is_api and "text/html" in request.headers.get("accept", "")


def static_folder() -> Path:
    """Return the folder of the static files."""
    return Path(str(files("gateway.web.ui") / "static"))


def _here(request: Request) -> str:
    """Path and query of this page, without the notice, so that a refresh does not repeat it."""
    url = request.url.remove_query_params("notice")
    return f"{url.path}?{url.query}" if url.query else url.path


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
