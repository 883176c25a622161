"""Write the folder of brain quality control: no network, only what the brains at hand measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dicom_sr.volume import Volume
from models.brain.heads import HeadCase, LesionMask
from models.brain.quality import BRAIN, LESIONS
from models.card import FINGERPRINT_FILE, write_card
from models.fingerprint import fingerprint_of

NAME = "brain-qc"
_ACCOUNT = {
    "purpose": "Rules that judge brain and lesion masks; no network.",
    "data": "Volumes and extents of the brains of 5 heads (one image each) and of 17 MS patients (brain masks only; "
    "Lesjak et al. 2017, CC BY).",
    "limits": "Not calibrated: there are no failures with expert masks to calibrate on. The verdict never accepts.",
    "claim": "Research reference model. No clinical claim is made.",
}


def write(heads: Sequence[HeadCase], masks: Sequence[LesionMask], out: Path) -> Path:
    """Write the weights folder from one image of each person and the masks of the others.

    Parameters
    ----------
    heads : sequence of HeadCase
        All heads.
    masks : sequence of LesionMask
        Brains without an image.
    out : Path
        Folder to write.
    """
    first = {head.source.person: head for head in reversed(heads)}
    cases = [(head.volume, head.brain.astype(np.uint8)) for head in first.values()]
    cases += [
        (Volume(grid=m.grid, voxels=m.brain.astype(np.float32), modality="MR"), m.brain.astype(np.uint8)) for m in masks
    ]
    out.mkdir(parents=True, exist_ok=True)
    fingerprint = fingerprint_of(cases, labels=(BRAIN,))
    (out / FINGERPRINT_FILE).write_text(fingerprint.to_json(), encoding="utf-8")
    card = {
        "schema": 1,
        "name": NAME,
        "version": "1.0.0",
        "kind": "brain_qc",
        "labels": [BRAIN, LESIONS],
        "needs_region": False,
        **_ACCOUNT,
    }
    write_card(out, card)
    return out
