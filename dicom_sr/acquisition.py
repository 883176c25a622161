"""How a series was acquired: technical facts free of patient data, for pipeline rules and image QC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SeriesDefect(StrEnum):
    """Why the instances of a series do not make one regular volume."""

    EMPTY = "EMPTY"
    NO_PIXELS = "NO_PIXELS"
    UNDECODABLE_PIXELS = "UNDECODABLE_PIXELS"
    LOCALIZER = "LOCALIZER"
    SINGLE_SLICE = "SINGLE_SLICE"
    MISSING_SLICES = "MISSING_SLICES"
    DOUBLED_SLICES = "DOUBLED_SLICES"
    UNEVEN_SPACING = "UNEVEN_SPACING"
    MIXED_ORIENTATION = "MIXED_ORIENTATION"
    MIXED_FRAME_OF_REFERENCE = "MIXED_FRAME_OF_REFERENCE"
    MIXED_MATRIX = "MIXED_MATRIX"
    GANTRY_TILT = "GANTRY_TILT"
    NO_GEOMETRY = "NO_GEOMETRY"
    COLOR_PIXELS = "COLOR_PIXELS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """Technical description of one series; holds no attribute that identifies a person.

    Parameters
    ----------
    modality, body_part_examined, series_description, protocol_name, sequence_name : str
        Attributes of the first instance, empty when absent. Free text may still hold a name: never log it.
    sop_class_uid : str
        SOP Class of the instances.
    image_type : tuple of str
        Image Type (0008,0008).
    scanning_sequence, mr_acquisition_type : str
        MR attributes, empty when absent; the first joins its values by a backslash.
    manufacturer, manufacturer_model_name, station_name : str
        Equipment.
    magnetic_field_strength, repetition_time, echo_time, inversion_time, slice_thickness : float or None
        Tesla, ms, ms, ms, mm.
    instance_count, frame_count : int
        Instances in the series; frames in all of them.
    rows, columns : int
        Matrix of the first frame.
    spacing : tuple of float, (z, y, x) or None
        mm; None when there is no regular geometry.
    gap_positions : tuple of float
        Positions along the slice normal, mm, where a slice is missing.
    defects : tuple of SeriesDefect
        Empty for a regular volume.
    """

    modality: str
    sop_class_uid: str
    body_part_examined: str = ""
    series_description: str = ""
    protocol_name: str = ""
    sequence_name: str = ""
    image_type: tuple[str, ...] = ()
    scanning_sequence: str = ""
    mr_acquisition_type: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    station_name: str = ""
    magnetic_field_strength: float | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    slice_thickness: float | None = None
    contrast_agent: bool = False
    instance_count: int = 0
    frame_count: int = 0
    rows: int = 0
    columns: int = 0
    spacing: tuple[float, float, float] | None = None
    gap_positions: tuple[float, ...] = ()
    defects: tuple[SeriesDefect, ...] = ()
