"""The real images that scans are simulated from, each with its person: nobody may be in training and in test.

Heads that only exist as DICOM are read by the caller, since models read no DICOM; see `DICOM_HEADS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_sr.volume import Volume
from models.image_qc.targets import Sequence
from models.nifti import read_nifti
from models.split import Split, split_patients

_HIPPOCAMPUS = "hippocampus_msd"
_LESIONS = Path("ms_lesion_nifti")
_TUMOUR = "brain_tumor_mr_dicom/Study3"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealScan:
    """One real image of good quality.

    Parameters
    ----------
    person : str
        Made-up name; scans of one person share it.
    name : str
        Name of the scan, unique.
    sequence : Sequence
        What it is.
    volume : Volume
        As acquired, or as its publishers prepared it.
    """

    person: str
    name: str
    sequence: Sequence
    volume: Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomHead:
    """Where a head lies that only exists as DICOM: one series per folder below the folder of all data sets."""

    person: str
    name: str
    sequence: Sequence
    folder: str


DICOM_HEADS = (
    DicomHead(person="siemens", name="siemens T1", sequence=Sequence.T1, folder="brain_t1_siemens_dicom"),
    DicomHead(
        person="tumour", name="tumour T1", sequence=Sequence.T1, folder=f"{_TUMOUR}/26401-T1prereg-52906"
    ),
    DicomHead(
        person="tumour", name="tumour FLAIR", sequence=Sequence.FLAIR, folder=f"{_TUMOUR}/36468-FLAIRreg-58706"
    ),
    DicomHead(person="tumour", name="tumour T2", sequence=Sequence.T2, folder=f"{_TUMOUR}/37830-T2reg-78532"),
)  # fmt: skip
#: Folders of everything here, below the folder that holds all data sets.
DATA_SETS = tuple(dict.fromkeys([_HIPPOCAMPUS, _LESIONS.name, *(h.folder.partition("/")[0] for h in DICOM_HEADS)]))


def nifti_heads(data: Path) -> Iterator[RealScan]:
    """Read the whole heads in ``ms_lesion_nifti``: four FLAIR of two persons as acquired, FLAIR and T1 of a third."""
    for path in sorted((data / _LESIONS / "longitudinal" / "raw").rglob("*FLAIR.nii.gz")):
        person = path.parent.name
        name = f"{person} {path.name.partition('_')[0]} FLAIR"
        yield RealScan(person=person, name=name, sequence=Sequence.FLAIR, volume=read_nifti(path))
    for path in sorted((data / _LESIONS / "cross_sectional_MNI").glob("*/*_N4_regtoMNI.nii.gz")):
        sequence = Sequence(path.name.partition("_")[0])
        person = path.parent.name
        yield RealScan(person=person, name=f"{person} {sequence}", sequence=sequence, volume=read_nifti(path))


def crops(data: Path, split: Split) -> Iterator[RealScan]:
    """Read the T1 hippocampus crops of one split."""
    folder = data / _HIPPOCAMPUS / "images"
    for name in split_patients(p.name.removesuffix(".nii.gz") for p in folder.glob("*.nii.gz"))[split]:
        yield RealScan(person=name, name=name, sequence=Sequence.T1, volume=read_nifti(folder / f"{name}.nii.gz"))


def dicom_heads(volumes: Mapping[str, Volume]) -> Iterator[RealScan]:
    """Name the heads that were read from DICOM, by `DicomHead.name`; absent ones are left out."""
    for head in DICOM_HEADS:
        if head.name in volumes:
            volume = volumes[head.name]
            yield RealScan(person=head.person, name=head.name, sequence=head.sequence, volume=volume)


def of_sequence(scans: Iterable[RealScan], sequence: Sequence) -> list[RealScan]:
    """Return those of one sequence."""
    return [scan for scan in scans if scan.sequence is sequence]
