"""The published page of the private coding scheme: every code with its meaning and definition, as Markdown."""

from __future__ import annotations

from dicom_sr.coded_items import private_concepts
from dicom_sr.codes import (
    PRIVATE_SCHEME,
    PRIVATE_SCHEME_NAME,
    PRIVATE_SCHEME_ORGANIZATION,
    PRIVATE_SCHEME_UID,
    PRIVATE_SCHEME_VERSION,
    PrivateConcept,
)


def scheme_page() -> str:
    """Return the page; the same text for the same table, so that a published copy can be compared with it."""
    unique = {concept.code.value: concept for concept in private_concepts()}
    rows = [_row(concept) for _, concept in sorted(unique.items())]
    return "\n".join(
        [
            f"# Private coding scheme {PRIVATE_SCHEME}",
            "",
            f"{PRIVATE_SCHEME_NAME}, version {PRIVATE_SCHEME_VERSION}, {PRIVATE_SCHEME_ORGANIZATION},"
            f" UID `{PRIVATE_SCHEME_UID}`.",
            "",
            "Every object that uses a code of this scheme declares it in Coding Scheme Identification Sequence",
            "(0008,0110). Standard codes are used wherever there is one; these are the rest.",
            "",
            "| code value | code meaning | definition |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _row(concept: PrivateConcept) -> str:
    definition = concept.definition.replace("|", "\\|")
    return f"| `{concept.code.value}` | {concept.code.meaning} | {definition} |"
