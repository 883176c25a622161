"""Compressed pixels made plain, for callers that do not take the form an instance is held in."""

from __future__ import annotations

from contextlib import suppress

from pydicom.dataset import Dataset

from dicom_sr.errors import UndecodablePixels
from dicom_sr.pixel_decoders import DECODER_FAILURES, decoders_of


def decompress(dataset: Dataset) -> None:
    """Make the pixels of a data set Explicit VR Little Endian, in place; one without compressed pixels stays as it is.

    Parameters
    ----------
    dataset : Dataset
        With file meta information.

    Raises
    ------
    UndecodablePixels
        If nobody can decode them.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    # A private transfer syntax does not tell whether it compresses; no decoder knows it then.
    if "PixelData" not in dataset or not (syntax.is_private or syntax.is_encapsulated):
        return
    for plugin in decoders_of(syntax):
        with suppress(*DECODER_FAILURES):
            dataset.decompress(generate_instance_uid=False, decoding_plugin=plugin)
            return
    raise UndecodablePixels("the compressed pixels of this instance cannot be decoded")
