"""Which data sets training and measuring read, below one folder, and what to say when some are not there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gateway.commands.output import ExitCode, end

HIPPOCAMPUS: Final = "hippocampus_msd"
_LESIONS: Final = "ms_lesion_nifti"
_TUMOUR: Final = "brain_tumor_mr_dicom"
_SIEMENS: Final = "brain_t1_siemens_dicom"
#: Heads of the brain models.
HEADS: Final = (_LESIONS, _SIEMENS, "odd_dicom", _TUMOUR)
#: Heads and crops of the two-headed network.
TWO_SEQUENCES: Final = (HIPPOCAMPUS, _LESIONS, _SIEMENS, _TUMOUR)


def hippocampus_folder(data: Path) -> Path:
    """Return the folder of the hippocampus data set: below a folder of all data sets, or `data` itself."""
    return data / HIPPOCAMPUS if (data / HIPPOCAMPUS).is_dir() else data


def of_image_qc() -> tuple[str, ...]:
    """Return everything that image QC is measured on."""
    from models.image_qc.series_evaluate import SERIES_FOLDERS

    return HIPPOCAMPUS, _LESIONS, "spinal_cord", "qc_ratings", *SERIES_FOLDERS


def need(data: Path, names: Iterable[str], *, why: str) -> None:
    """End the verb if data sets are not there.

    Parameters
    ----------
    data : Path
        Folder that holds all data sets.
    names : iterable of str
        Folders below it.
    why : str
        What they are needed for.
    """
    missing = [name for name in names if not (data / name).is_dir()]
    if missing:
        end(ExitCode.FAILED, f"{why} needs data sets that are not in {data}: {', '.join(missing)}")
