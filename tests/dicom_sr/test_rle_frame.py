"""RLE frames: every decoder gives back what was encoded, for any plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from dicom_sr.rle_frame import encode_rle_frame


def decode(encoded, plane, plugin):
    bits = plane.itemsize * 8
    decoded, _ = get_decoder(RLELossless).as_array(
        encapsulate([encoded]),
        index=0,
        raw=True,
        decoding_plugin=plugin,
        rows=plane.shape[0],
        columns=plane.shape[1],
        number_of_frames=1,
        samples_per_pixel=1,
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        pixel_keyword="PixelData",
        transfer_syntax_uid=RLELossless,
    )
    return decoded


@pytest.mark.parametrize("plugin", ["pydicom", "pylibjpeg"])
@settings(deadline=None, max_examples=50)
@given(plane=st.data())
def test_any_plane_comes_back(plugin, plane):
    dtype = plane.draw(st.sampled_from([np.uint8, np.uint16]))
    shape = plane.draw(st.tuples(st.integers(1, 6), st.integers(1, 300)))
    values = st.sampled_from([0, 1, 2, 255] if dtype is np.uint8 else [0, 1, 255, 256, 65535])
    labels = plane.draw(arrays.arrays(dtype, shape, elements=values, fill=st.just(0)))

    encoded = encode_rle_frame(labels)
    # Encoded bytes as many as the plane's own make pydicom doubt that they are encoded at all.
    assume(len(encoded) != labels.nbytes)
    np.testing.assert_array_equal(decode(encoded, labels, plugin), labels)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 256, 257, 512])
def test_runs_at_the_limits_come_back(length):
    plane = np.zeros((2, length), np.uint8)
    plane[1] = 7

    encoded = encode_rle_frame(plane)

    np.testing.assert_array_equal(decode(encoded, plane, "pydicom"), plane)
    assert len(encoded) % 2 == 0


def test_a_plane_of_long_runs_is_small():
    assert len(encode_rle_frame(np.zeros((512, 512), np.uint8))) == 64 + 512 * 4 * 2
