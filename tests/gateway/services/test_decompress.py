"""Compressed pixels are made plain by whichever decoder can, and what no decoder knows is refused by name."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from dicom_sr import pixel_decoders
from dicom_sr.errors import UndecodablePixels
from gateway.services.decompress import decompress
from tests.support.instances import make_instance


def image(syntax: UID) -> Dataset:
    dataset = pydicom.dcmread(io.BytesIO(make_instance(1)))
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return dataset


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_the_pixels_come_out_plain_and_the_same(syntax: UID) -> None:
    dataset = image(syntax)
    decompress(dataset)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(dataset.pixel_array, image(ExplicitVRLittleEndian).pixel_array)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, UID("1.2.840.113619.5.2"), UID("1.2.3.4.5")])
def test_what_no_decoder_can_take_is_refused_by_name(syntax: UID) -> None:
    dataset = image(RLELossless)
    dataset.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(UndecodablePixels):
        decompress(dataset)


def test_the_decoder_that_can_end_the_process_is_tried_last() -> None:
    assert pixel_decoders.decoders_of(JPEG2000Lossless)[-1] == "gdcm"
    assert len(pixel_decoders.decoders_of(JPEG2000Lossless)) > 1
