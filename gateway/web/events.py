"""The event feed: news from the audit trail to everybody who listens. While nobody listens, nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

from starlette.concurrency import run_in_threadpool

from gateway.services.registers import AuditRow, audit_after, newest_audit_id
from gateway.store.database import Database

#: News a slow listener may fall behind before it is cut off; it then reconnects and catches up by Last-Event-ID.
_BACKLOG = 1000
#: After this long without news a listener gets a sign of life, so that dead connections are noticed, seconds.
_QUIET_S = 15.0


class EventFeed:
    """One look at the audit trail serves every listener.

    Parameters
    ----------
    database : Database
        Where the audit trail is.
    poll_s : float
        Seconds between looks.
    """

    def __init__(self, database: Database, poll_s: float) -> None:
        self._database = database
        self._poll_s = poll_s
        self._listeners: set[asyncio.Queue[AuditRow | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._position = 0
        self._is_closed = False

    async def listen(self, after: int | None) -> AsyncGenerator[AuditRow | None]:
        """Yield events as they happen, first those after id `after` when one is given; None as a sign of life.

        Ends when the feed is closed or the listener falls too far behind.
        """
        queue: asyncio.Queue[AuditRow | None] = asyncio.Queue(_BACKLOG)
        last = await run_in_threadpool(newest_audit_id, self._database) if after is None else after
        self._listeners.add(queue)
        if self._task is None:
            self._position = last
            self._task = asyncio.create_task(self._look())
        try:
            yield None
            for event in await run_in_threadpool(audit_after, self._database, last):
                last = event.id
                yield event
            while not self._is_closed:
                try:
                    news = await asyncio.wait_for(queue.get(), _QUIET_S)
                except TimeoutError:
                    yield None
                    continue
                if news is None:
                    break
                if news.id > last:
                    last = news.id
                    yield news
        finally:
            self._listeners.discard(queue)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    def close(self) -> None:
        """End every listener within one look, so that the server can drain; may be called from any thread."""
        self._is_closed = True

    async def _look(self) -> None:
        while not self._is_closed:
            for event in await run_in_threadpool(audit_after, self._database, self._position):
                self._position = event.id
                for queue in tuple(self._listeners):
                    self._give(queue, event)
            await asyncio.sleep(self._poll_s)
        for queue in tuple(self._listeners):
            self._end(queue)

    def _give(self, queue: asyncio.Queue[AuditRow | None], event: AuditRow) -> None:
        if queue.qsize() >= _BACKLOG - 1:
            self._end(queue)
        else:
            queue.put_nowait(event)

    def _end(self, queue: asyncio.Queue[AuditRow | None]) -> None:
        self._listeners.discard(queue)
        with contextlib.suppress(asyncio.QueueFull):
            queue.put_nowait(None)


def event_text(event: AuditRow | None) -> bytes:
    """Return an event in ``text/event-stream`` form, or a comment line as a sign of life.

    The audit trail is free of patient data, so the feed is too.
    """
    if event is None:
        return b": quiet\n\n"
    facts = json.dumps(
        {
            "id": event.id,
            "at": event.at.isoformat(),
            "actor": event.actor,
            "action": event.action,
            "case_id": event.case_id,
            "subject": event.subject,
            "detail": event.detail,
        }
    )
    return f"id: {event.id}\nevent: {'case' if event.case_id else 'node'}\ndata: {facts}\n\n".encode()
