from __future__ import annotations

import pytest

from dicom_sr.uids import derive_uid
from gateway.services import holdings
from tests.support.web_gateway import Bench

_STUDY = derive_uid("study", 1)
_UID, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"


def _search(bench: Bench, path: str) -> list[dict[str, dict[str, list[object]]]]:
    answer = bench.client().get(f"/dicom-web/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    return answer.json()


def _value(found: dict[str, dict[str, list[object]]], tag: str) -> object:
    return found[tag]["Value"][0]


def test_a_study_is_described_with_what_it_holds(busy: Bench) -> None:
    (study,) = _search(busy, "studies?PatientID=NM-004471")
    assert _value(study, "00100010") == {"Alphabetic": "LINDQVIST^ASTRID^M"}
    assert study["00080061"]["Value"] == ["MR", "OT", "SEG", "SR"]
    # Two images, the edited SEG as received, and our ten outputs less the one that was carried over.
    assert (_value(study, "00201206"), _value(study, "00201208")) == (7, 12)
    assert str(_value(study, "00081190")).endswith(f"/dicom-web/studies/{_STUDY}")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 13),
        ("PatientID=NM-*", 1),
        ("PatientID=PID0001%3F", 9),
        ("00100020=NM-004471", 1),
        ("PatientName=lindqvist*", 1),
        ("PatientName=LINDQVIST%5EASTRID%5EM", 1),
        ("StudyDate=20261122", 13),
        ("StudyDate=20261101-20261130", 13),
        ("StudyDate=-20261121", 0),
        ("StudyDate=20261123-", 0),
        ("StudyTime=1015-1016", 13),
        ("AccessionNumber=ACC000001", 1),
        ("ModalitiesInStudy=SEG", 10),
        ("ModalitiesInStudy=CT", 0),
        (f"StudyInstanceUID={_STUDY},1.2.3", 1),
        ("limit=5", 5),
        ("limit=5&offset=10", 3),
        ("PatientID=", 13),
    ],
)
def test_studies_are_matched(busy: Bench, query: str, count: int) -> None:
    assert len(_search(busy, f"studies?{query}")) == count


def test_underscores_and_percent_signs_are_no_wildcards(busy: Bench) -> None:
    assert _search(busy, "studies?PatientID=NM_00447*") == []
    assert _search(busy, "studies?PatientID=%25*") == []


def test_paging_covers_every_study_once(busy: Bench) -> None:
    pages = [_search(busy, f"studies?limit=4&offset={offset}") for offset in range(0, 16, 4)]
    uids = [_value(study, _UID) for page in pages for study in page]
    assert len(uids) == len(set(uids)) == 13


def test_series_of_a_study_hold_received_ones_and_our_own(busy: Bench) -> None:
    found = _search(busy, f"studies/{_STUDY}/series")
    assert sorted(str(_value(series, "00080060")) for series in found) == ["MR", "OT", "SEG", "SEG", "SEG", "SR", "SR"]
    ours = [s for s in found if "Value" in s["0008103E"] and str(_value(s, "0008103E")).startswith("QC SEG_QC_SR")]
    assert [_value(series, "00201209") for series in ours] == [2]


def test_series_are_matched_by_modality(busy: Bench) -> None:
    assert len(_search(busy, f"studies/{_STUDY}/series?Modality=SR")) == 2
    assert len(_search(busy, "series?Modality=MR")) == 13
    assert len(_search(busy, "series?Modality=MR&PatientID=NM-*")) == 1
    assert len(_search(busy, "series?Modality=MR&limit=3&offset=11")) == 2


def test_instances_are_found_at_every_level(busy: Bench) -> None:
    series = derive_uid("series", 1)
    assert len(_search(busy, f"studies/{_STUDY}/series/{series}/instances")) == 2
    assert len(_search(busy, f"studies/{_STUDY}/instances")) == 12
    assert len(_search(busy, f"instances?SOPInstanceUID={derive_uid('image', 1, 0)}")) == 1
    (first, _) = _search(busy, f"studies/{_STUDY}/series/{series}/instances")
    assert (_value(first, "00200013"), _value(first, "00280010"), _value(first, "00280011")) == (1, 8, 6)


def test_series_and_instances_of_any_study_are_found_by_what_only_they_have(busy: Bench) -> None:
    series, image = derive_uid("series", 1), derive_uid("image", 1, 0)
    assert [_value(found, _SERIES) for found in _search(busy, f"series?SeriesInstanceUID={series}")] == [series]
    assert len(_search(busy, f"series?SeriesInstanceUID={series},{derive_uid('series', '30')}")) == 2
    assert len(_search(busy, f"instances?SOPInstanceUID={image},1.2.3")) == 1
    (made,) = _search(busy, f"studies/{_STUDY}/instances?limit=1&SOPClassUID=1.2.840.10008.5.1.4.1.1.7")
    (again,) = _search(busy, f"instances?SOPInstanceUID={_value(made, _INSTANCE)}")
    assert _value(again, _SERIES) == _value(made, _SERIES)
    assert len(_search(busy, "series?SeriesDescription=T1*")) == 13
    assert _search(busy, "series?SeriesDescription=t1*") == []
    assert len(_search(busy, "series?BodyPartExamined=BRAIN&SeriesNumber=3")) == 13
    assert _search(busy, "series?SeriesNumber=9") == []
    assert len(_search(busy, "instances?SOPClassUID=1.2.840.10008.5.1.4.1.1.4")) == 26


def test_a_search_over_many_steps_finds_each_series_once(busy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [_value(found, _SERIES) for found in _search(busy, "series?Modality=MR,SEG")]
    monkeypatch.setattr(holdings, "_STEP", 3)
    assert [_value(found, _SERIES) for found in _search(busy, "series?Modality=MR,SEG")] == whole
    assert len(set(whole)) == len(whole) > 20


def test_further_attributes_are_read_when_asked_for(busy: Bench) -> None:
    path = f"studies/{_STUDY}/series/{derive_uid('series', 1)}/instances"
    assert "00200032" not in _search(busy, path)[0]
    assert _search(busy, f"{path}?includefield=ImagePositionPatient")[1]["00200032"]["Value"] == [0, 0, 1]
    assert _search(busy, f"{path}?includefield=00200032,00280030")[0]["00280030"]["Value"] == [1, 1]
    everything = _search(busy, f"{path}?includefield=all")[0]
    assert "00281050" in everything
    assert "7FE00010" not in everything


def test_nothing_found_is_an_empty_list(busy: Bench) -> None:
    assert _search(busy, "studies/1.2.3/series") == []


@pytest.mark.parametrize("query", ["Patientid=1", "99999999=1", "Rows=8", "limit=-1", "offset=x", "includefield=Nope"])
def test_what_cannot_be_matched_is_refused_rather_than_ignored(busy: Bench, query: str) -> None:
    answer = busy.client().get(f"/dicom-web/studies?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


def test_an_instance_key_at_study_level_is_refused(busy: Bench) -> None:
    assert busy.client().get("/dicom-web/studies?Modality=MR").status_code == 400


def test_fuzzy_matching_is_answered_literally_with_a_warning(busy: Bench) -> None:
    answer = busy.client().get("/dicom-web/studies?fuzzymatching=true&PatientName=LINDQVST*")
    assert answer.json() == []
    assert answer.headers["warning"].startswith("299 ")
