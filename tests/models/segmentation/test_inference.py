"""An image of any size is covered completely, and shortage of memory leads to smaller windows, not to failure."""

from __future__ import annotations

import pytest
import torch

from models.errors import OutOfDeviceMemory
from models.segmentation.inference import Window, predict


class Pointwise(torch.nn.Module):
    """Class 1 wherever the voxel is positive; forgets what it was shown above `limit` voxels a side."""

    def __init__(self, limit: int = 10_000) -> None:
        super().__init__()
        self.limit = limit
        self.sides: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sides.append(max(images.shape[2:]))
        assert all(n % 4 == 0 for n in images.shape[2:])
        if self.sides[-1] > self.limit:
            raise torch.OutOfMemoryError("not enough memory")
        return torch.cat([-images, images], dim=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(5, 7, 9), (8, 8, 8), (40, 33, 17), (70, 9, 41)])
def test_windows_give_what_the_whole_image_gives(shape: tuple[int, int, int]) -> None:
    image = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
    expected = torch.cat([-image, image]).softmax(dim=0)
    for largest in (16, 32, 96):
        answer = predict(Pointwise(), image, stride=4, window=Window(largest=largest, smallest=16))
        torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


def test_shortage_of_memory_halves_the_window() -> None:
    network = Pointwise(limit=24)
    image = torch.randn((1, 60, 60, 60), generator=torch.Generator().manual_seed(0))
    answer = predict(network, image, stride=4, window=Window(largest=96, smallest=16))
    assert answer.shape == (2, 60, 60, 60)
    assert network.sides[:2] == [60, 48]
    assert network.sides[-1] == 24


def test_when_nothing_fits_the_error_says_so_and_may_be_retried() -> None:
    with pytest.raises(OutOfDeviceMemory) as caught:
        predict(Pointwise(limit=4), torch.randn(1, 40, 40, 40), stride=4, window=Window(largest=32, smallest=16))
    assert caught.value.retryable


def test_other_faults_of_a_network_are_not_mistaken_for_shortage_of_memory() -> None:
    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        predict(Broken(), torch.randn(1, 8, 8, 8), stride=4, window=Window())
