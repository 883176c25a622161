"""Which code stands behind a card of kind ``brain``."""

from __future__ import annotations

from models.card import read_card
from models.errors import InvalidModel
from models.registry import ModelCard
from models.segmentation.segmenter import Segmenter


def load_brain(card: ModelCard, *, device: str = "auto") -> Segmenter:
    """Load a brain or lesion segmenter by the ``method`` its card names: outliers or network.

    Raises
    ------
    InvalidModel
        If the card names another method, or its files are not what the method needs.
    """
    method = read_card(card.folder).get("method")
    if method == "outliers":
        from models.brain.outliers import OutlierLesions

        return OutlierLesions(card)
    if method == "network":
        from models.brain.segmenter import BrainSegmenter

        return BrainSegmenter(card, device=device)
    raise InvalidModel("the card of a brain model names its method: outliers or network")
