from __future__ import annotations

import email
import email.policy
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

from dicom_sr.uids import derive_uid
from gateway.config import Config
from gateway.domain.instance import SEGMENTATION_STORAGE
from tests.support.seed import as_file
from tests.support.web_gateway import Bench

_STUDY, _SERIES, _IMAGE = derive_uid("study", 1), derive_uid("series", 1), derive_uid("image", 1, 0)
_PATH = f"/dicom-web/studies/{_STUDY}/series/{_SERIES}/instances/{_IMAGE}"


def _parts(answer) -> list[tuple[str, bytes]]:
    assert answer.status_code == 200, answer.text
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    return [(part["Content-Type"], part.get_payload(decode=True)) for part in message.iter_parts()]


def _raw_parts(answer) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].split("boundary=")[1].encode()
    body = answer.content.removesuffix(b"\r\n--" + boundary + b"--\r\n")
    return [part.split(b"\r\n\r\n", 1)[1] for part in body.split(b"\r\n--" + boundary)[1:]]


def _keep(bench: Bench, ds: Dataset) -> str:
    """Store one instance through the receiver and return its path."""
    bench.services.receiver.receive(as_file_keeping(ds), door="stow", sender="test")
    return f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def as_file_keeping(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _compressed() -> Dataset:
    ds = pydicom.dcmread(io.BytesIO(_image()))
    ds.decompress() if ds.file_meta.TransferSyntaxUID.is_compressed else None
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.840.99.7"
    return ds


def _image() -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.99.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.840.99.2", "1.2.840.99.3"
    ds.PatientID, ds.Modality = "P", "MR"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.NumberOfFrames = 3
    ds.PixelData = np.arange(60, dtype="<u2").tobytes()
    return as_file(ds)


def _frame(index: int) -> bytes:
    return np.arange(60, dtype="<u2").reshape(3, 20)[index].tobytes()


def test_an_instance_is_retrieved_byte_for_byte_as_stored(busy: Bench) -> None:
    ((kind, content),) = _raw_parts_with_type(busy.client().get(_PATH))
    assert kind.startswith("application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    with busy.database.read() as session:
        from gateway.store.tables import Instance

        row = session.get(Instance, _IMAGE)
    assert row is not None
    assert content == busy.blobs.read(row.sha256)


def _raw_parts_with_type(answer) -> list[tuple[str, bytes]]:
    kinds = [kind for kind, _ in _parts(answer)]
    return list(zip([kind.replace(chr(34), "") for kind in kinds], _raw_parts(answer), strict=True))


def test_a_study_is_retrieved_with_our_outputs(busy: Bench) -> None:
    answer = busy.client().get(f"/dicom-web/studies/{_STUDY}")
    assert len(_raw_parts(answer)) == 12
    assert len(_raw_parts(busy.client().get(f"/dicom-web/studies/{_STUDY}/series/{_SERIES}"))) == 2


def test_what_is_not_held_is_404(busy: Bench) -> None:
    assert busy.client().get("/dicom-web/studies/1.2.3").status_code == 404
    assert busy.client().get(f"/dicom-web/studies/{_STUDY}/series/1.2/metadata").status_code == 404
    assert busy.client().get("/dicom-web/studies/..%2F..%2Fetc/metadata").status_code == 404


def test_a_single_instance_may_be_asked_for_without_multipart(busy: Bench) -> None:
    answer = busy.client().get(_PATH, headers={"Accept": "application/dicom"})
    assert answer.headers["content-type"].startswith("application/dicom")
    assert pydicom.dcmread(io.BytesIO(answer.content)).SOPInstanceUID == _IMAGE


def test_metadata_names_pixels_by_a_url_that_answers(busy: Bench) -> None:
    client = busy.client()
    (found,) = client.get(f"{_PATH}/metadata").json()
    assert found["00100010"]["Value"] == [{"Alphabetic": "LINDQVIST^ASTRID^M"}]
    assert found["00280010"]["Value"] == [8]
    url = found["7FE00010"]["BulkDataURI"]
    (pixels,) = _raw_parts(client.get(url))
    assert np.frombuffer(pixels, "<u2")[1] == 20
    assert len(client.get(f"/dicom-web/studies/{_STUDY}/series/{_SERIES}/metadata").json()) == 2


def test_metadata_is_utf8_whatever_the_file_was(bench: Bench) -> None:
    ds = pydicom.dcmread(io.BytesIO(_image()))
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 100", "Müller^Jörg"
    path = _keep(bench, ds)
    (found,) = bench.client().get(f"{path}/metadata").json()
    assert found["00080005"]["Value"] == ["ISO_IR 192"]
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]


def test_large_values_are_bulk_data_and_small_ones_inline(bench: Bench) -> None:
    ds = pydicom.dcmread(io.BytesIO(_image()))
    ds.add_new(0x00420011, "OB", b"\1\2" * 5000)
    ds.add_new(0x00091001, "OB", b"\1\2")
    ds.add_new(0x00090010, "LO", "OURS")
    path = _keep(bench, ds)
    (found,) = bench.client().get(f"{path}/metadata").json()
    assert found["00091001"]["InlineBinary"] == "AQI="
    (value,) = _raw_parts(bench.client().get(found["00420011"]["BulkDataURI"]))
    assert value == b"\1\2" * 5000
    assert bench.client().get(f"{path}/bulkdata/00100010").status_code == 404
    assert bench.client().get(f"{path}/bulkdata/xyz").status_code == 400


def test_frames_come_in_the_order_asked_for(bench: Bench) -> None:
    path = _keep(bench, pydicom.dcmread(io.BytesIO(_image())))
    assert _raw_parts(bench.client().get(f"{path}/frames/3,1")) == [_frame(2), _frame(0)]


@pytest.mark.parametrize(("frames", "status"), [("0", 400), ("x", 400), ("1,,2", 400), ("4", 404)])
def test_frames_that_do_not_exist(bench: Bench, frames: str, status: int) -> None:
    path = _keep(bench, pydicom.dcmread(io.BytesIO(_image())))
    assert bench.client().get(f"{path}/frames/{frames}").status_code == status


def test_compressed_frames_are_native_unless_asked_for_as_stored(bench: Bench) -> None:
    path = _keep(bench, _compressed())
    client = bench.client()
    native = client.get(f"{path}/frames/2", headers={"Accept": 'multipart/related; type="application/octet-stream"'})
    assert _raw_parts(native) == [_frame(1)]
    as_stored = client.get(
        f"{path}/frames/2", headers={"Accept": 'multipart/related; type="image/dicom-rle"; transfer-syntax=*'}
    )
    kind, body = _raw_parts_with_type(as_stored)[0]
    assert kind == f"image/dicom-rle; transfer-syntax={RLELossless}"
    assert len(body) > 64
    assert int.from_bytes(body[:4], "little") == 2


def test_frames_in_a_form_nobody_can_make_are_406(bench: Bench) -> None:
    path = _keep(bench, pydicom.dcmread(io.BytesIO(_image())))
    answer = bench.client().get(f"{path}/frames/1", headers={"Accept": 'multipart/related; type="video/mpeg"'})
    assert (answer.status_code, answer.json()["code"]) == (406, "NOT_ACCEPTABLE")


def test_bit_packed_frames_begin_with_their_first_pixel(bench: Bench) -> None:
    ds = pydicom.dcmread(io.BytesIO(_image()))
    masks = np.arange(3 * 4 * 5).reshape(3, 20) % 3 == 0
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SEGMENTATION_STORAGE
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelData = np.packbits(masks.ravel(), bitorder="little").tobytes()
    path = _keep(bench, ds)
    for index, body in enumerate(_raw_parts(bench.client().get(f"{path}/frames/1,2,3"))):
        assert (np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")[:20] == masks[index]).all()


def test_compressed_and_implicit_instances_are_explicit_little_endian_unless_asked_for_as_stored(bench: Bench) -> None:
    client = bench.client()
    path = _keep(bench, _compressed())
    given = pydicom.dcmread(io.BytesIO(_raw_parts(client.get(path))[0]))
    assert given.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert given.PixelData == b"".join(_frame(n) for n in range(3))
    anything = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    stored = pydicom.dcmread(io.BytesIO(_raw_parts(client.get(path, headers=anything))[0]))
    assert stored.file_meta.TransferSyntaxUID == RLELossless
    implicit = pydicom.dcmread(io.BytesIO(_image()))
    implicit.SOPInstanceUID = implicit.file_meta.MediaStorageSOPInstanceUID = "1.2.840.99.8"
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    other = _keep(bench, implicit)
    given = pydicom.dcmread(io.BytesIO(_raw_parts(client.get(other))[0]))
    assert given.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_gdcm_is_not_asked_while_another_decoder_can(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    decode = DecodeRunner._decode_frame

    def note(runner: DecodeRunner, src: bytes) -> object:
        asked.extend(runner._decoders)
        return decode(runner, src)

    monkeypatch.setattr(DecodeRunner, "_decode_frame", note)
    ds = pydicom.dcmread(io.BytesIO(_image()))
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.840.99.9"
    path = _keep(bench, ds)
    assert _raw_parts(bench.client().get(f"{path}/frames/2")) == [_frame(1)]
    assert pydicom.dcmread(io.BytesIO(_raw_parts(bench.client().get(path))[0])).PixelData[:40] == _frame(0)
    assert bench.client().get(f"{path}/rendered").status_code == 200
    assert set(asked) == {"pyjpegls"}


def test_a_syntax_we_cannot_give_is_406(bench: Bench) -> None:
    path = _keep(bench, _compressed())
    wanted = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90'}
    assert bench.client().get(path, headers=wanted).status_code == 406


def test_pixels_that_cannot_be_decoded_are_named_without_a_trace(bench: Bench) -> None:
    ds = _compressed()
    ds.PixelData = pydicom.encaps.encapsulate([b"\1\0\0\0CANARY"])
    path = _keep(bench, ds)
    answer = bench.client().get(f"{path}/frames/1")
    assert (answer.status_code, answer.json()["code"]) == (422, "UNDECODABLE_PIXELS")
    assert "CANARY" not in answer.text


def test_a_rendered_instance_follows_window_viewport_and_media_type(busy: Bench) -> None:
    client = busy.client()
    answer = client.get(f"{_PATH}/rendered?window=480,960,linear&viewport=60,80", headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (60, 80)
    levels = np.asarray(picture)
    assert levels[0, 0] < 10
    assert levels[-1, -1] > 240
    assert client.get(f"{_PATH}/rendered").headers["content-type"] == "image/jpeg"
    series = client.get(f"/dicom-web/studies/{_STUDY}/series/{_SERIES}/rendered")
    assert Image.open(io.BytesIO(series.content)).size == (6, 8)


def test_a_frame_is_rendered_alone(bench: Bench) -> None:
    path = _keep(bench, pydicom.dcmread(io.BytesIO(_image())))
    client = bench.client(accept="image/png")
    pictures = [client.get(f"{path}/frames/{n}/rendered?window=30,60").content for n in (1, 3)]
    first, third = (np.asarray(Image.open(io.BytesIO(p))) for p in pictures)
    assert first.mean() < 60
    assert third.mean() > 190
    assert client.get(f"{path}/frames/1,2/rendered").status_code == 400
    assert client.get(f"{path}/frames/9/rendered").status_code == 404


@pytest.mark.parametrize(
    "query", ["window=1", "window=1,0", "viewport=0,9", "viewport=99999,2", "viewport=a", "quality=0"]
)
def test_nonsense_about_a_picture_is_400(busy: Bench, query: str) -> None:
    assert busy.client().get(f"{_PATH}/rendered?{query}").status_code == 400


def test_a_report_has_no_picture(busy: Bench) -> None:
    (report,) = [
        found
        for found in busy.client().get(f"/dicom-web/studies/{_STUDY}/instances?limit=99").json()
        if found["00080060"]["Value"] == ["SR"]
    ][:1]
    uid, series = report["00080018"]["Value"][0], report["0020000E"]["Value"][0]
    path = f"/dicom-web/studies/{_STUDY}/series/{series}/instances/{uid}/rendered"
    assert busy.client().get(path).status_code == 406


def test_an_encapsulated_pdf_is_rendered_as_itself(bench: Bench) -> None:
    ds = pydicom.dcmread(io.BytesIO(_image()))
    del ds.PixelData
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    ds.EncapsulatedDocument = b"%PDF-1.4 x"
    path = _keep(bench, ds)
    answer = bench.client().get(f"{path}/rendered")
    assert (answer.headers["content-type"], answer.content) == ("application/pdf", b"%PDF-1.4 x")


def test_retrieving_results_assigns_a_reader_and_nobody_else(memory_folder: Path) -> None:
    users = []
    for name, role in (("ann", "reader"), ("ben", "reviewer")):
        (memory_folder / name).write_text(f"secret-of-{name}")
        users.append({"name": name, "role": role, "token_file": str(memory_folder / name)})
    bench = Bench(folder=memory_folder, config=Config.model_validate({"web": {"users": users}}))
    case = bench.seed.case(bench.seed.study(1))
    bench.seed.iteration(case)
    ben, ann = (bench.client(authorization=f"Bearer secret-of-{name}") for name in ("ben", "ann"))

    def assignee() -> str:
        return str(ben.get(f"/api/v1/cases/{case.id}").json()["qc_assignee"])

    ben.get(f"/dicom-web/studies/{_STUDY}")
    ann.get(f"/dicom-web/studies/{_STUDY}/metadata")
    ann.get(_PATH)
    assert assignee() == ""
    ann.get(f"/dicom-web/studies/{_STUDY}")
    assert assignee() == "ann"
