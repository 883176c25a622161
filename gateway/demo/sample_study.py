"""A synthetic study as DICOM files: a T1-like crop made by code, with a made-up patient. No real voxel is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicom_sr.uids import derive_uid
from dicom_sr.volume import Volume


def write_study(volume: Volume, folder: Path, *, seed: int) -> list[Path]:
    """Write a volume as a single-frame MR series; the same seed gives the same UIDs and bytes.

    Parameters
    ----------
    volume : Volume
        MR image, (z, y, x).
    folder : Path
        Created if missing.
    seed : int
        Names study, series and instances.

    Returns
    -------
    list of Path
        One file a slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    pixels = np.round((volume.voxels - low) / max(high - low, 1e-6) * 4095).astype("<u2")
    paths = []
    for z in range(len(pixels)):
        dataset = _slice(volume, seed=seed, z=z)
        dataset.PixelData = pixels[z].tobytes()
        path = folder / f"slice_{z:03d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(volume: Volume, *, seed: int, z: int) -> Dataset:
    grid = volume.grid
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = derive_uid("sample study instance", seed, z)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20260302"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "091500"
    dataset.AccessionNumber = f"DEMO{seed}"
    dataset.Modality = "MR"
    dataset.Manufacturer = "Overread sample study"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Synthetic head"
    dataset.SeriesDescription = "T1 hippocampus crop (synthetic)"
    dataset.PatientName = "Synthetic^Sample"
    dataset.PatientID = f"SAMPLE-{seed:03d}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.BodyPartExamined = "HEAD"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "GR", "MP", ""
    dataset.MRAcquisitionType = "3D"
    dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = "3", "2300", "1"
    dataset.SliceThickness = f"{grid.spacing[0]:.6g}"
    dataset.SpacingBetweenSlices = f"{grid.spacing[0]:.6g}"
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = derive_uid("sample study", seed)
    dataset.SeriesInstanceUID = derive_uid("sample study series", seed)
    dataset.StudyID = str(seed)
    dataset.SeriesNumber = "1"
    dataset.InstanceNumber = str(z + 1)
    dataset.ImagePositionPatient = [f"{value:.6g}" for value in grid.image_position_patient(z)]
    dataset.ImageOrientationPatient = [f"{value:.6g}" for value in grid.image_orientation_patient]
    dataset.FrameOfReferenceUID = derive_uid("sample study frame of reference", seed)
    dataset.PositionReferenceIndicator = ""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = grid.shape[1], grid.shape[2]
    dataset.PixelSpacing = [f"{grid.spacing[1]:.6g}", f"{grid.spacing[2]:.6g}"]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    return dataset
