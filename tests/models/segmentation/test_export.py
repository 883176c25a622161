"""An exported bundle answers what the built-in model answers, run as any other bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.errors import InvalidModel
from models.metrics import dice
from models.phantom import hippocampus_phantom
from models.registry import find_model
from models.segmentation.export import export_bundle
from models.segmentation.segmenter import load_segmenter


@pytest.mark.slow
def test_the_exported_bundle_answers_like_the_model(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    card = find_model("hippocampus")
    exported = find_model(str(export_bundle(card, tmp_path / "bundle")))
    assert (exported.kind, exported.name, exported.labels) == ("bundle", card.name, card.labels)
    volume, _ = hippocampus_phantom(0)
    own, other = (load_segmenter(c, device="cpu").segment(volume).labels == 1 for c in (card, exported))
    assert dice(own, other) > 0.98


def test_a_model_that_needs_a_region_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="single image"):
        export_bundle(find_model("hippocampus-subfields"), tmp_path / "bundle")


def test_an_existing_folder_is_not_written_into(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="exists"):
        export_bundle(find_model("hippocampus"), tmp_path)
