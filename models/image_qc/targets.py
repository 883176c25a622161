"""What each pipeline expects of its input image, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models.errors import ModelError


class UnknownTarget(ModelError):
    """No image target of that name is declared."""

    code = "UNKNOWN_TARGET"


class Sequence(StrEnum):
    """MR sequence families the rules tell apart."""

    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    PROTON_DENSITY = "PD"
    DIFFUSION = "DWI"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The image one pipeline is made for.

    Parameters
    ----------
    name : str
        Name used in pipeline configuration.
    modality : str
        Modality (0008,0060); empty for any.
    sequence : Sequence or None
        Wanted sequence; None for any.
    extent_mm : tuple of float, (low, high) or None
        Range of the field of view along every axis, mm; None for any.
    slice_mm : float or None
        Largest distance between slices, mm.
    is_head : bool
        Whether the image shows a whole head with air around it.
    reference : str
        Name of the reference image statistics in models/weights; empty when there is none.
    """

    name: str
    modality: str = "MR"
    sequence: Sequence | None = None
    extent_mm: tuple[float, float] | None = None
    slice_mm: float | None = None
    is_head: bool = False
    reference: str = ""


# Extents: the 195 hippocampus crops span 24-59 mm per axis, the whole heads in the data set 137-240 mm.
# Slices: lesion protocols are 3-4 mm 2-D FLAIR, 6.5 mm exists in older archives; T1 for volumetry is <= 1.5 mm.
_TARGETS = (
    Target(
        name="t1-hippocampus-crop",
        sequence=Sequence.T1,
        extent_mm=(20.0, 75.0),
        slice_mm=2.0,
        reference="t1-hippocampus-crop",
    ),
    Target(name="t1-brain", sequence=Sequence.T1, extent_mm=(110.0, 300.0), slice_mm=2.0, is_head=True),
    Target(name="flair-brain", sequence=Sequence.FLAIR, extent_mm=(110.0, 300.0), slice_mm=7.0, is_head=True),
    Target(name="mr-head", extent_mm=(110.0, 300.0), slice_mm=7.0, is_head=True),
    Target(name="any", modality=""),
)


def target_named(name: str) -> Target:
    """Return the target of that name.

    Raises
    ------
    UnknownTarget
        If none is declared; the detail lists those that are.
    """
    for target in _TARGETS:
        if target.name == name:
            return target
    raise UnknownTarget(f"image target is none of {', '.join(t.name for t in _TARGETS)}")
