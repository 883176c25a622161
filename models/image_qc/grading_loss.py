"""The loss of one head: cross entropy of reject and of each artefact's grade."""

from __future__ import annotations

import torch
from torch import nn

from models.errors import ModelError
from models.image_qc.network import split_logits
from models.image_qc.simulation import Grades

NO_GRADE = -1
CLASS_WEIGHTS = (0.6, 1.4, 1.4)  # grade 0 is twice as frequent as either of the others


class NothingToLearnFrom(ModelError):
    """A training set holds no scan."""

    code = "NOTHING_TO_LEARN_FROM"


def grading_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of reject and of each artefact's grade, summed.

    Parameters
    ----------
    logits : torch.Tensor, (view, 11)
        Of one head.
    labels : torch.Tensor, (view, 4), int64
        Reject 0/1, then grades 0..2 of motion, noise and contrast; -1 where there is none.
    """
    weight = torch.tensor(CLASS_WEIGHTS)
    reject, *grades = split_logits(logits)
    loss = nn.functional.cross_entropy(reject, labels[:, 0])
    if bool((labels[:, 1] != NO_GRADE).any()):
        for column, part in enumerate(grades, start=1):
            loss = loss + nn.functional.cross_entropy(part, labels[:, column], weight=weight, ignore_index=NO_GRADE)
    return loss


def labels_of(grades: Grades) -> tuple[int, int, int, int]:
    """Return what `grading_loss` needs of one scan; a scan to refuse has no grades."""
    if grades.reject:
        return 1, NO_GRADE, NO_GRADE, NO_GRADE
    return 0, grades.motion, grades.noise, grades.contrast
