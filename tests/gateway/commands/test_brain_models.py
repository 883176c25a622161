"""What measuring the lesions needs besides what ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.commands import brain_models
from models.card import CARD_FILE
from models.registry import ModelCard


def test_networks_beside_the_shipped_lesions_are_trained_once_and_then_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained: list[Path] = []
    measured: list[tuple[str, str]] = []

    def train(_heads: object, _masks: object, out: Path, **_: object) -> Path:
        trained.append(out)
        out.mkdir(parents=True)
        (out / CARD_FILE).write_text("{}")
        return out

    def evaluate(_heads: object, _data: Path, card: str, _out: None, *, networks: str) -> dict[str, str]:
        measured.append((card, networks))
        return {}

    def find(reference: str) -> str | ModelCard:
        return Path(reference).name

    monkeypatch.setattr(brain_models, "read_heads", lambda *_: [])
    monkeypatch.setattr(brain_models, "read_lesion_masks", lambda *_: [])
    monkeypatch.setattr(brain_models, "find_model", find)
    monkeypatch.setattr(brain_models.lesions, "train", train)
    monkeypatch.setattr(brain_models.lesions, "evaluate", evaluate)
    for _ in range(2):
        brain_models.evaluate_lesions(tmp_path, None, work=tmp_path / "work")
    assert trained == [tmp_path / "work" / "flair-lesions-network"]
    assert measured == [("flair-lesions", "flair-lesions-network")] * 2
