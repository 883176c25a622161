"""The summary that every viewer shows: the montage of a report as an RGB Secondary Capture image."""

from __future__ import annotations

from datetime import UTC

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_sr.character_set import character_set_of, settle_character_set
from dicom_sr.coded_items import code_item, declare_private_scheme
from dicom_sr.codes import QC_STATUSES, SOURCE_FOR_MONTAGE
from dicom_sr.equipment import Equipment
from dicom_sr.errors import InvalidObject
from dicom_sr.montage import MontageContent, montage
from dicom_sr.new_object import header_of, instance_reference, listed_instances, new_object
from dicom_sr.picture_planes import Rgb
from dicom_sr.qc_report import QcReport
from dicom_sr.source import SourceSeries

__all__ = ["MontageContent", "montage", "summary_sc", "title_lines"]


def title_lines(report: QcReport) -> tuple[str, ...]:
    """Return the lines below the verdict: pipeline and iteration, case and criteria, a person's decision if any.

    None of them holds patient data or the comment, because they are burnt into pixels.
    """
    made = report.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"{report.pipeline.name} {report.pipeline.version} · iteration {report.iteration} · {made}",
        f"case {report.case_id} · criteria {report.criteria_version}",
    ]
    if report.qc_status is not None and report.qc_status in QC_STATUSES:
        lines.append(f"QC status: {QC_STATUSES[report.qc_status].meaning}")
    return tuple(lines)


def summary_sc(report: QcReport, pixels: Rgb, source: SourceSeries, equipment: Equipment) -> Dataset:
    """Write pixels as a Secondary Capture Image.

    Parameters
    ----------
    report : QcReport
        Report the picture shows; gives UIDs, numbers, description and time of the object.
    pixels : numpy.ndarray, (row, column, 3), uint8
        RGB, as `montage` draws it.
    source : SourceSeries
        The series the report is about.
    equipment : Equipment
        This installation.

    Returns
    -------
    pydicom.Dataset
        With file meta information, uncompressed, ready to save.

    Raises
    ------
    InvalidObject
        If `pixels` is no RGB picture, or the source has no instance.

    References
    ----------
    PS3.3 A.8.1, C.8.6.1, C.8.6.2
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InvalidObject("the picture of a summary is not RGB with 8 bits")
    ds = new_object(header_of(report, sop_class_uid=SecondaryCaptureImageStorage, modality="OT"), source, equipment)
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    ds.PatientOrientation = None
    ds.Laterality = None
    # Strictly the text identifies neither patient nor date of acquisition (C.7.6.1); YES is the answer on the safe
    # side: de-identification then looks at the picture before it lets it go.
    ds.BurnedInAnnotation = "YES"
    ds.LossyImageCompression = "00"
    ds.ContentQualification = report.content_qualification.value
    ds.DerivationDescription = "Montage of quality control findings; not for measurement"
    ds.SourceImageSequence = [_source_item(header) for header in listed_instances(source)]
    _set_pixels(ds, pixels)
    declare_private_scheme(ds)
    settle_character_set(ds, character_set_of(source.headers[0]))
    return ds


def _source_item(header: Dataset) -> Dataset:
    item = instance_reference(str(header.SOPClassUID), str(header.SOPInstanceUID))
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_FOR_MONTAGE)]
    return item


def _set_pixels(ds: Dataset, pixels: Rgb) -> None:
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    frame = np.ascontiguousarray(pixels).tobytes()
    ds.PixelData = frame + b"\0" * (len(frame) % 2)
    ds["PixelData"].VR = "OB"
