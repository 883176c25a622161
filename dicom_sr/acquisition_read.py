"""Read how a series was acquired from its headers; enhanced attributes are found in the functional groups."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from dicom_sr.acquisition import Acquisition
from dicom_sr.header import items, number, text, texts
from dicom_sr.series_geometry import Arrangement


def read_acquisition(headers: Sequence[Dataset], arrangement: Arrangement, *, frame_count: int) -> Acquisition:
    """Describe a series by the header of its first instance and by how its planes are arranged.

    Parameters
    ----------
    headers : sequence of pydicom.Dataset
        Headers of the series; may be empty.
    arrangement : Arrangement
        Grid, gaps and defects.
    frame_count : int
        Frames in all instances.
    """
    header = headers[0] if headers else Dataset()
    grid = arrangement.grid
    return Acquisition(
        modality=text(header, "Modality"),
        sop_class_uid=text(header, "SOPClassUID"),
        body_part_examined=text(header, "BodyPartExamined"),
        series_description=text(header, "SeriesDescription"),
        protocol_name=text(header, "ProtocolName"),
        sequence_name=text(header, "SequenceName") or text(header, "PulseSequenceName"),
        image_type=texts(header, "ImageType"),
        scanning_sequence=text(header, "ScanningSequence"),
        mr_acquisition_type=text(header, "MRAcquisitionType"),
        manufacturer=text(header, "Manufacturer"),
        manufacturer_model_name=text(header, "ManufacturerModelName"),
        station_name=text(header, "StationName"),
        magnetic_field_strength=number(header, "MagneticFieldStrength"),
        repetition_time=_number(header, "RepetitionTime"),
        echo_time=_number(header, "EchoTime", "EffectiveEchoTime"),
        inversion_time=_number(header, "InversionTime", "InversionTimes"),
        slice_thickness=_number(header, "SliceThickness"),
        contrast_agent=bool(text(header, "ContrastBolusAgent") or items(header, "ContrastBolusAgentSequence")),
        instance_count=len(headers),
        frame_count=frame_count,
        rows=int(number(header, "Rows") or 0),
        columns=int(number(header, "Columns") or 0),
        spacing=grid.spacing if grid else None,
        gap_positions=arrangement.gap_positions,
        defects=arrangement.defects,
    )


def _number(header: Dataset, *keywords: str) -> float | None:
    """Find the first of `keywords` in the header itself, else in the functional groups of its first frame."""
    for keyword in keywords:
        found = number(header, keyword)
        if found is not None:
            return found
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for macro in _macros(items(header, groups)[:1]):
            for keyword in keywords:
                found = number(macro, keyword)
                if found is not None:
                    return found
    return None


def _macros(groups: Sequence[Dataset]) -> list[Dataset]:
    return [
        item
        for group in groups
        for tag in group.keys()  # noqa: SIM118  iterating a Dataset would decode every element
        if tag.group in (0x0018, 0x0028) and keyword_for_tag(tag)
        for item in items(group, keyword_for_tag(tag))
    ]
