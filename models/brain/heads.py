"""The heads at hand: which image is whose, where its brain mask comes from, and which network may not see it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Grid, Volume
from models.brain.extract import Recipe, extract_brain
from models.errors import UnusableVolume
from models.nifti import read_nifti, read_nifti_labels

_MS = Path("ms_lesion_nifti") / "longitudinal"
_LESION_MASKS = Path("ms_lesion_nifti") / "consensus_masks_1mm"
#: The only patient with image and full lesion truth: never trained on, nor his masks.
TEST_PATIENT = "patient07"
#: Patients whose images are measured on: masks under their names are used nowhere, in case they are the same persons.
_MEASURED_PATIENTS = (TEST_PATIENT, "patient01", "patient12")


class Reference(StrEnum):
    """Where a brain mask comes from.

    ``expert``: published with the images, brought from their common space by the published transform.
    ``draft``: made here by threshold and morphology with parameters set for this head, and looked at.
    """

    EXPERT = "expert"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSource:
    """One image of a head.

    Parameters
    ----------
    name : str
        Unique.
    person : str
        Images of one person share it.
    site : str
        Images of one scanner site share it; a network that is measured on a site saw none of its heads.
    sequence : str
        ``T1``, ``T2`` or ``FLAIR``.
    folder : str
        Folder below the data: of a DICOM series, or of one patient's NIfTI files for an expert reference.
    recipe : Recipe or None
        How the draft of the brain mask is made; None where experts gave it, or where it is that of `drawn_on`.
    drawn_on : str
        Name of an image of the same person on the same grid, whose mask counts here too.
    """

    name: str
    person: str
    site: str
    sequence: str
    folder: str
    recipe: Recipe | None = None
    drawn_on: str = ""

    @property
    def has_expert_mask(self) -> bool:
        """Whether its brain mask was published with it, and both are NIfTI files."""
        return self.recipe is None and not self.drawn_on


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadCase:
    """A head with its brain.

    Parameters
    ----------
    source : HeadSource
        Where it comes from.
    volume : Volume
        Image.
    brain : numpy.ndarray, (z, y, x), bool
        On the grid of `volume`.
    reference : Reference
        Where `brain` comes from.
    changed : numpy.ndarray, (z, y, x), bool, or None
        Lesions that appeared or grew between the two examinations, by experts; None where nobody drew them.
    """

    source: HeadSource
    volume: Volume
    brain: Mask
    reference: Reference
    changed: Mask | None = None


_TUMOUR = "brain_tumor_mr_dicom/Study3"
_TUMOUR_RECIPE = Recipe(low=230.0, high=490.0, erode_mm=5.0, grow_mm=7.0, close_mm=10.0, flatten=False)
HEADS = (
    *(
        HeadSource(
            name=f"ms-{patient}-{study}",
            person=f"ms-{patient}",
            site="ljubljana",
            sequence="FLAIR",
            folder=f"{patient}/{study}",
        )
        for patient in ("patient01", "patient12")
        for study in ("study1", "study2")
    ),
    HeadSource(
        name="skyra-t1",
        person="skyra",
        site="skyra",
        sequence="T1",
        folder="brain_t1_siemens_dicom",
        recipe=Recipe(low=105.0, high=270.0, erode_mm=5.0, grow_mm=7.0, close_mm=4.0, flatten=False),
    ),
    HeadSource(
        name="xa30-t1",
        person="xa30",
        site="xa30",
        sequence="T1",
        folder="odd_dicom/siemens_xa30_enhanced/In/5_anat-T1w_acq-tfl",
        recipe=Recipe(close_mm=8.0),
    ),
    HeadSource(
        name="tumour-t1",
        person="tumour",
        site="tumour",
        sequence="T1",
        folder=f"{_TUMOUR}/26401-T1prereg-52906",
        recipe=_TUMOUR_RECIPE,
    ),
    *(
        HeadSource(
            name=f"tumour-{name}",
            person="tumour",
            site="tumour",
            sequence=sequence,
            folder=f"{_TUMOUR}/{folder}",
            drawn_on="tumour-t1",
        )
        for name, sequence, folder in (
            ("t1-contrast", "T1", "11-T1post-18670"),
            ("flair", "FLAIR", "36468-FLAIRreg-58706"),
            ("t2", "T2", "37830-T2reg-78532"),
        )
    ),
)
#: Folders of all of these, below the folder that holds all data sets.
DATA_SETS = tuple(
    dict.fromkeys(_MS.parts[0] if source.has_expert_mask else source.folder.partition("/")[0] for source in HEADS)
)


def read_heads(
    data: Path, read_series: Callable[[Path], Volume], sources: tuple[HeadSource, ...] = HEADS
) -> Iterator[HeadCase]:
    """Read heads with their brain masks.

    Parameters
    ----------
    data : Path
        Folder that holds all data sets.
    read_series : callable
        Reads the DICOM series in a folder.
    sources : tuple of HeadSource
        What to read, in an order where `drawn_on` comes first.

    Raises
    ------
    UnusableVolume
        If a file is missing or unreadable.
    """
    drawn: dict[str, Mask] = {}
    for source in sources:
        if source.has_expert_mask:
            yield _with_expert_mask(data, source)
            continue
        volume = read_series(data / source.folder)
        brain = extract_brain(volume, source.recipe) if source.recipe is not None else drawn[source.drawn_on]
        if brain.shape != volume.grid.shape:
            raise UnusableVolume("two images said to share a grid do not")
        drawn[source.name] = brain
        yield HeadCase(source=source, volume=volume, brain=brain, reference=Reference.DRAFT)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionMask:
    """Expert masks of one patient without the image: all lesions, and the brain, on one 1 mm grid."""

    patient: str
    grid: Grid
    brain: Mask
    lesions: Mask


def lesion_patients(data: Path) -> tuple[str, ...]:
    """Return the patients whose lesion masks may be used: those of whom no image is measured on."""
    found = sorted(path.name for path in (data / _LESION_MASKS).glob("patient*"))
    return tuple(name for name in found if name not in _MEASURED_PATIENTS)


def read_lesion_masks(data: Path) -> Iterator[LesionMask]:
    """Read the consensus masks of the patients of `lesion_patients`.

    Raises
    ------
    UnusableVolume
        If there is none, or a file is unreadable.
    """
    patients = lesion_patients(data)
    if not patients:
        raise UnusableVolume("the data hold no consensus lesion masks")
    for patient in patients:
        folder = data / _LESION_MASKS / patient
        grid, brain = read_nifti_labels(folder / "brainmask.nii.gz")
        _, lesions = read_nifti_labels(folder / "consensus_gt.nii.gz")
        yield LesionMask(patient=patient, grid=grid, brain=brain > 0, lesions=lesions > 0)


def example_heads(data: Path) -> Iterator[tuple[str, Volume, Mask, Mask]]:
    """Read the FLAIR with full lesion truth: name, image without skull, brain, lesions.

    Raises
    ------
    UnusableVolume
        If it is missing.
    """
    folder = data / "ms_lesion_nifti" / "cross_sectional_MNI" / TEST_PATIENT
    images, truths = sorted(folder.glob("FLAIR*.nii.gz")), sorted(folder.glob("GOLD*.nii.gz"))
    if not images or not truths:
        raise UnusableVolume("the data hold no FLAIR with full lesion truth")
    volume = read_nifti(images[0])
    _, truth = read_nifti_labels(truths[0])
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(volume.voxels > 0, iterations=2))
    yield TEST_PATIENT, volume, brain, truth > 0


def _with_expert_mask(data: Path, source: HeadSource) -> HeadCase:
    patient, study = source.folder.split("/")
    raw = data / _MS / "raw" / patient
    volume = read_nifti(raw / f"{study}_FLAIR.nii.gz")
    to_common = np.asarray(np.linalg.inv(_transform(raw / f"{study}_FLAIR_to_common_space.txt")), np.float64)
    grid, brain = read_nifti_labels(data / _MS / "coregistered" / patient / "brainmask.nii.gz")
    changed_grid, changed = read_nifti_labels(raw / "gt.nii.gz")
    return HeadCase(
        source=source,
        volume=volume,
        brain=_moved(brain, grid, volume.grid, to_common),
        reference=Reference.EXPERT,
        changed=_moved(changed, changed_grid, volume.grid, to_common),
    )


def _transform(path: Path) -> npt.NDArray[np.float64]:
    """Read an ITK text file of an affine transform about a centre, LPS mm, as a matrix (4, 4)."""
    try:
        found = dict(re.findall(r"^(Parameters|FixedParameters): (.+)$", path.read_text(encoding="utf-8"), re.M))
        numbers = np.array(found["Parameters"].split(), np.float64)
        centre = np.array(found["FixedParameters"].split(), np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise UnusableVolume("a transform file is missing or unreadable") from error
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return matrix


def _moved(mask: npt.NDArray[np.uint16], source: Grid, wanted: Grid, to_source: npt.NDArray[np.float64]) -> Mask:
    """Resample a mask linearly onto another grid whose points `to_source` takes into the frame of the mask."""
    mapping = np.linalg.inv(source.affine) @ to_source @ wanted.affine
    moved = ndimage.affine_transform(
        (mask > 0).astype(np.float32), mapping[:3, :3], mapping[:3, 3], output_shape=wanted.shape, order=1
    )
    inside: Mask = moved > 0.5
    return inside
