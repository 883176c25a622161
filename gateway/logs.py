"""Logs without patient data: ours say what we mean them to say, libraries' are reduced to where they come from.

Libraries quote values: pynetdicom logs identifiers of queries, pydicom's and highdicom's warnings hold birth dates and
names, and exception messages of all of them do. So only our own loggers and a few harmless ones keep their text; of
everything else, and of every exception, the log holds type and place (ADR 0006).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

#: Loggers whose text is written with patient data in mind: ours, and the HTTP server's on starting and stopping.
_TRUSTED = ("gateway", "models", "orthanc", "dicom_sr", "overread", "uvicorn.error")
#: Keys that never carry their value into the log, whoever gives them.
_WITHHELD_KEYS = frozenset(
    {"patient", "patient_name", "patient_id", "patient_birth_date", "accession_number", "dataset"}
)
_WITHHELD = "(withheld)"
#: Frames of a traceback that are worth a line.
_MAXIMUM_FRAMES = 6
_OWN_PACKAGES = ("gateway", "models", "orthanc", "dicom_sr")


class LogForm(StrEnum):
    """How a line of the log looks."""

    JSON = "json"
    CONSOLE = "console"


def configure(*, form: LogForm | None = None, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all logs of this process to one place, with patient data kept out.

    Call it once in each process, before anything is received: it also takes over warnings and the hooks for uncaught
    exceptions of the main thread, of other threads and of finalisers.

    Parameters
    ----------
    form : LogForm, optional
        JSON unless the stream is a terminal when None; the environment variable OVERREAD_LOG overrides both.
    level : int
        Least level of our own loggers; others are heard from WARNING on.
    stream : TextIO, optional
        Standard error when None.
    """
    target = stream or sys.stderr
    chosen = _form(form, target)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _reduce_exception,
        _withhold_keys,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.addFilter(_reduce_record)
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if chosen is LogForm.JSON
        else structlog.dev.ConsoleRenderer(colors=target.isatty() and "NO_COLOR" not in os.environ)
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _TRUSTED:
        logging.getLogger(name).setLevel(level)
    _silence_libraries()
    _take_hooks()


def describe_exception(error: BaseException) -> str:
    """Say what was raised and where, without its message: one line that may be logged and stored.

    Our own errors carry a `code` and a `detail` that are free of patient data; they are kept.
    """
    code, detail = getattr(error, "code", None), getattr(error, "detail", None)
    if type(error).__module__.partition(".")[0] in _OWN_PACKAGES and isinstance(detail, str):
        return f"{type(error).__name__} {code}: {detail}"
    where = " < ".join(_frames(error.__traceback__))
    return f"{type(error).__name__} at {where}" if where else type(error).__name__


def uid_tag(uid: str) -> str:
    """Return eight hexadecimal digits that stand for a UID in logs: equal UIDs have equal tags."""
    import hashlib

    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def _form(form: LogForm | None, stream: TextIO) -> LogForm:
    asked = os.environ.get("OVERREAD_LOG", "")
    if asked in tuple(LogForm):
        return LogForm(asked)
    return form or (LogForm.CONSOLE if stream.isatty() else LogForm.JSON)


def _is_trusted(logger: str) -> bool:
    return any(logger == name or logger.startswith(f"{name}.") for name in _TRUSTED)


def _reduce_record(record: logging.LogRecord) -> bool:
    """Replace the text of a library's record by its place; the filter of our one handler, so nothing goes round it."""
    if not _is_trusted(record.name) and record.name != "warnings":
        record.msg = f"{record.name}: message withheld, from {_short(record.pathname)}:{record.lineno}"
        record.args = ()
    return True


def _reduce_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        record.exc_info = record.exc_text = record.stack_info = None
    event.pop("stack_info", None)
    if isinstance(error, BaseException):
        event["error"] = describe_exception(error)
        causes = [describe_exception(cause) for cause in _causes(error)]
        if causes:
            event["caused_by"] = causes
    return event


def _withhold_keys(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in _WITHHELD_KEYS.intersection(event):
        event[key] = _WITHHELD
    for key, value in event.items():
        if isinstance(value, BaseException):
            event[key] = describe_exception(value)
    return event


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _frames(trace: TracebackType | None) -> list[str]:
    """Return the innermost frames as ``file:line``, innermost first."""
    frames = [f"{_short(frame.filename)}:{frame.lineno}" for frame in traceback.extract_tb(trace)]
    return frames[: -_MAXIMUM_FRAMES - 1 : -1]


def _short(filename: str) -> str:
    """Return the last two parts of a source path: enough to find it, and no home folder."""
    return "/".join(Path(filename).parts[-2:])


def _silence_libraries() -> None:
    logging.getLogger("uvicorn.access").disabled = True
    # Handlers that libraries put up themselves would go round the filter.
    for name in ("pydicom", "pynetdicom", "highdicom", "uvicorn", "uvicorn.error", "monai", "alembic", "py.warnings"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # Looked up, not imported: a process that does not talk DICOM should not pay for pynetdicom.
    pynetdicom = sys.modules.get("pynetdicom._config")
    if pynetdicom is not None:
        pynetdicom.__dict__.update(LOG_REQUEST_IDENTIFIERS=False, LOG_RESPONSE_IDENTIFIERS=False)
        pynetdicom.__dict__.update(LOG_HANDLER_LEVEL="none")


def _take_hooks() -> None:
    warnings.showwarning = _log_warning
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def _log_warning(
    message: Warning | str,  # noqa: ARG001 - it quotes values
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    logging.getLogger("warnings").warning("%s at %s:%d", category.__name__, _short(filename), lineno)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("overread").critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        error = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        logging.getLogger("overread").error("uncaught exception in a thread", exc_info=error)


def _log_unraisable(unraisable: UnraisableHookArgs) -> None:
    if unraisable.exc_value is not None:
        error = (unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback)
        logging.getLogger("overread").error("exception that nobody could catch", exc_info=error)
