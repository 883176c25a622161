"""Tables of the documentation that come from the running code, so that they cannot drift from it.

A block in a Markdown file stands between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``. ``make docs``
writes them; `tests/test_docs.py` fails when one is not what the code says.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end of (?P=name) -->)", re.DOTALL)


def documents() -> tuple[Path, ...]:
    """Return every Markdown file of the project."""
    return (ROOT / "README.md", *sorted((ROOT / "gateway" / "docs").rglob("*.md")))


def refreshed(text: str) -> str:
    """Return a document with its generated blocks as the code has them now."""
    blocks = generators()

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{blocks[found['name']]().strip()}\n{found[3]}"

    return _BLOCK.sub(block, text)


def block_names(text: str) -> tuple[str, ...]:
    """Return the names of the generated blocks of a document."""
    return tuple(found["name"] for found in _BLOCK.finditer(text))


def generators() -> Mapping[str, Callable[[], str]]:
    """Return what writes each block."""
    return {
        "config-keys": _config_keys,
        "commands": _commands,
        "case-lifecycle": _case_lifecycle,
        "stage-run-lifecycle": _stage_run_lifecycle,
        "qc-decisions": _qc_decisions,
        "hold-reasons": _hold_reasons,
        "store-status": _store_status,
        "decisions": _decisions,
        "service-classes": _service_classes,
        "association-refusals": _association_refusals,
        "normalized-status": _normalized_status,
        "tls-profile": _tls_profile,
        "announcements": _announcements,
        "transfer-syntaxes": _transfer_syntaxes,
        "storage-classes": _storage_classes,
        "coding-scheme": _coding_scheme,
        "dicomweb-routes": _dicomweb_routes,
        "measured": _measured,
    }


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _config_keys() -> str:
    from gateway.config_keys import all_keys

    def row(key) -> tuple[str, str, str, str]:
        default = "" if key.section else "required" if key.default == "required" else f"`{key.default}`"
        return f"`{key.path}`", key.kind, default, key.text.replace("``", "`")

    return _table(("key", "takes", "default", "meaning"), map(row, all_keys()))


def _commands() -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from gateway.cli import main; main()", "--help"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "100", "TERMINAL_WIDTH": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    commands = done.stdout.partition("Commands:\n")[2]
    return f"```text\n{commands.rstrip()}\n```"


def _case_lifecycle() -> str:
    from gateway.domain.case import TRANSITIONS

    return _lifecycle(TRANSITIONS)


def _stage_run_lifecycle() -> str:
    from gateway.domain.stage_run import TRANSITIONS

    return _lifecycle(TRANSITIONS)


def _lifecycle(transitions: Mapping[tuple[str, str], str]) -> str:
    rows = []
    for state, cells in groupby(transitions.items(), key=lambda cell: cell[0][0]):
        rows.append((state, "; ".join(f"{event} to {after}" for (_, event), after in cells)))
    return _table(("state", "what may happen, and where it leads"), rows)


def _qc_decisions() -> str:
    from gateway.domain.qc_status import LEGAL_STATES, NEEDS_REASON, QcStatus

    iteration = {QcStatus.PASS: "0 only", QcStatus.PASS_WITH_EDITS: "1 and later"}
    rows = []
    for decision in QcStatus:
        states = ", ".join(sorted(LEGAL_STATES[decision]))
        reason = "yes" if decision in NEEDS_REASON else "to reopen a final case" if decision == "NOT_REVIEWED" else "no"
        rows.append((decision, states, iteration.get(decision, "any"), reason))
    return _table(("decision", "while the case is", "iteration", "reason needed"), rows)


def _hold_reasons() -> str:
    from dicom_sr.hold import HoldReason

    rows = [(reason, reason.sentence, "yes" if reason.releasable else "no") for reason in HoldReason]
    return _table(("code", "what happened and the way out", "a person may accept it"), rows)


def _store_status() -> str:
    from gateway.dimse.status import STORE_STATUS, meaning

    return _table(("our code", "C-STORE answers"), [(code, meaning(status)) for code, status in STORE_STATUS.items()])


def _service_classes() -> str:
    from gateway.dimse.contexts import REQUESTED_CLASSES, SERVICE_CLASSES, VERIFICATION

    offered = {VERIFICATION: "Verification", **SERVICE_CLASSES}
    rows = [(name, uid, "SCP, SCU" if uid in REQUESTED_CLASSES else "SCP") for uid, name in offered.items()]
    return _table(("SOP class", "UID", "role"), rows)


def _association_refusals() -> str:
    from gateway.dimse.admission import Rejection

    rows = [(r.meaning, *r.answer) for r in Rejection]
    return _table(("refused because", "result", "source", "reason"), rows)


def _normalized_status() -> str:
    from gateway.dimse.status import NORMALIZED_STATUS, meaning

    rows = [(code, meaning(status)) for code, status in NORMALIZED_STATUS.items()]
    return _table(("our code", "N-CREATE, N-SET and N-GET answer"), rows)


def _tls_profile() -> str:
    from gateway.dimse.tls import CIPHERS, MINIMUM_VERSION

    words = [
        ("oldest version", MINIMUM_VERSION.name.replace("v", " ").replace("_", ".")),
        ("newest version", "TLS 1.3"),
    ]
    return _table(("TLS", ""), [*words, ("ciphers of TLS 1.2, as OpenSSL names them", f"`{CIPHERS}`")])


def _announcements() -> str:
    from gateway.domain.evidence import STEP_TRANSITIONS, AnnouncementKind, Sureness

    rows = [
        (kind, f"{kind.announcer} names it", ", ".join(_states_of(kind, STEP_TRANSITIONS))) for kind in AnnouncementKind
    ]
    signs = _table(("evidence", "an instance is expected when", "states"), rows)
    return signs + "\n\n" + _table(("the report ends with", ""), [(s, s.sentence) for s in Sureness])


def _states_of(kind: str, transitions: Mapping[tuple[str, str], str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(transitions.values())) if kind == "MPPS" else ("COMPLETED",)


def _transfer_syntaxes() -> str:
    from gateway.dimse.contexts import TRANSFER_SYNTAXES

    return _table(("transfer syntax", "UID"), [(name, uid) for uid, name in TRANSFER_SYNTAXES.items()])


def _storage_classes() -> str:
    from pydicom.uid import UID
    from pynetdicom import sop_class

    from gateway.dimse.contexts import STORAGE_CLASSES

    # pynetdicom knows classes that pydicom has no name for yet; their keyword is a name without spaces.
    keywords = {str(uid): keyword for keyword, uid in vars(sop_class).items() if isinstance(uid, str)}

    def name(uid: str) -> str:
        known = UID(uid).name
        return known if known != uid else re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keywords.get(uid, uid))

    return _table(("SOP class", "UID"), sorted((name(uid), uid) for uid in STORAGE_CLASSES))


def _coding_scheme() -> str:
    from dicom_sr.scheme_page import scheme_page

    return scheme_page()


def _dicomweb_routes() -> str:
    from gateway.web.dicomweb import qido, stow, wado

    rows = []
    for service, module in (("STOW-RS", stow), ("QIDO-RS", qido), ("WADO-RS", wado)):
        for route in module.router.routes:
            methods = ", ".join(sorted(route.methods - {"HEAD", "OPTIONS"}))
            rows.append((service, f"{methods} `{route.path.removeprefix('/dicom-web')}`"))
    return _table(("service", "call"), rows)


def _measured() -> str:
    from models.measured import measured_table

    return measured_table()


def _decisions() -> str:
    files = sorted((ROOT / "gateway" / "docs" / "adr").glob("*.md"))
    titles = [(file, file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")) for file in files]
    return "\n".join(f"- [{title}](adr/{file.name})" for file, title in titles)


def main() -> None:
    """Rewrite the generated blocks of every document."""
    for path in documents():
        before = path.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
