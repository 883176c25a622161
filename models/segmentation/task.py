"""What the built-in segmentation networks are asked to do: channels in, classes out, and how to read the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import ModelNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One segmentation task.

    Parameters
    ----------
    name : str
        Name of the weights it yields.
    labels : tuple of str
        Segment labels; label value n is ``labels[n - 1]``.
    expert_values : tuple of tuple of int
        For each label the values of the expert label map that make it up.
    needs_region : bool
        Whether the mask of the upstream structure is a second input channel. The answer then covers exactly that
        mask: every voxel of it gets one of the labels and none outside does.
    channels : tuple of int
        Feature channels per resolution level of the U-Net.
    account : mapping of str to str
        What the card says to people: purpose, data, limits.
    """

    name: str
    labels: tuple[str, ...]
    expert_values: tuple[tuple[int, ...], ...]
    needs_region: bool
    channels: tuple[int, ...]
    account: Mapping[str, str]

    @property
    def input_channels(self) -> int:
        """Channels of the network's input."""
        return 2 if self.needs_region else 1

    @property
    def output_channels(self) -> int:
        """Channels of the network's output; background has one only when it has to be found."""
        return len(self.labels) + (0 if self.needs_region else 1)

    def truth(self, expert: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Translate an expert label map into this task's label values; other values become background."""
        truth = np.zeros(expert.shape, np.uint8)
        for value, parts in enumerate(self.expert_values, start=1):
            truth[np.isin(expert, parts)] = value
        return truth


_ACCOUNT = {
    "data": "Medical Segmentation Decathlon Task04 Hippocampus (Simpson et al. 2019, arXiv 1902.09063), CC BY-SA 4.0: "
    "T1-weighted crops of one side at 1 mm, from one centre, of healthy adults and adults with a psychotic disorder. "
    "No synthetic data.",
    "limits": "Crops of about 35 x 50 x 35 mm around one hippocampus; not whole heads, not other contrasts. Left and "
    "right sides were used alike. No atrophy beyond what the data hold, no children, no lesions.",
    "claim": "Research reference model. No clinical claim is made.",
}

HIPPOCAMPUS = Task(
    name="hippocampus",
    labels=("Hippocampus",),
    expert_values=((1, 2),),
    needs_region=False,
    channels=(16, 32, 64, 128),
    account={"purpose": "Whole hippocampus from a T1-weighted crop of one side.", **_ACCOUNT},
)
SUBFIELDS = Task(
    name="hippocampus-subfields",
    labels=("Hippocampus anterior", "Hippocampus posterior"),
    expert_values=((1,), (2,)),
    needs_region=True,
    channels=(16, 32, 64),
    account={"purpose": "Divides a hippocampus mask into its anterior and posterior part.", **_ACCOUNT},
)
TASKS = (HIPPOCAMPUS, SUBFIELDS)


def task_named(name: str) -> Task:
    """Return the task whose weights go by `name`; raises `ModelNotFound`."""
    task = next((task for task in TASKS if task.name == name), None)
    if task is None:
        raise ModelNotFound(f"no segmentation task '{name}'; there are: {', '.join(t.name for t in TASKS)}")
    return task
