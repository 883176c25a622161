"""Who wakes whom in a gateway that is put together and not started."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app import Parts
from gateway.dispatch.loop import Loop
from gateway.services.receive import Receiver
from tests.support.instances import SEG, make_instance
from tests.support.lab import Lab


def test_an_edit_wakes_the_search_for_edits_and_an_image_wakes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab.create(tmp_path)
    woken: list[str] = []
    monkeypatch.setattr(Loop, "wake", lambda loop: woken.append(loop._name))
    receiver: Receiver = Parts(lab.env, tmp_path)._receiver
    for number in (1, 2):
        receiver.receive(make_instance(number), door="dicom", sender="SCANNER")
    assert woken == []
    receiver.receive(make_instance(3, sop_class=SEG), door="dicom", sender="VIEWER")
    assert woken == ["edits"]
