"""A segmenter that is any program: image in as NIfTI, labels out as NIfTI, in a folder that is deleted afterwards."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.card import read_card
from models.errors import CommandFailed, InvalidModel, UnsuitableAnswer, UntrustedBundle, UnusableVolume
from models.nifti import read_nifti_labels, write_nifti
from models.registry import ModelCard
from models.segmentation.regrid import labels_on_grid
from models.segmentation.segmenter import SegmentationResult, check_region

_TIMEOUT_S = 900.0


def command_of(card: ModelCard, *, trusted: bool) -> CommandSegmenter:
    """Build the segmenter of a folder whose ``card.json`` is of kind ``command`` and holds ``argv`` and ``timeout_s``.

    Raises
    ------
    UntrustedBundle
        Unless an administrator vouches for it: the card names a program to run.
    InvalidModel
        If the card holds no command.
    """
    if not trusted:
        raise UntrustedBundle(f"model '{card.name}' runs a program; say that it is trusted where the stage names it")
    content = read_card(card.folder)
    argv, timeout_s = content.get("argv"), content.get("timeout_s", _TIMEOUT_S)
    if not isinstance(argv, list) or not isinstance(timeout_s, int | float):
        raise InvalidModel("the card of a command needs argv, a list, and timeout_s, a number")
    return CommandSegmenter([str(part) for part in argv], float(timeout_s), card.digest)


class CommandSegmenter:
    """Runs one command per image.

    Parameters
    ----------
    argv : sequence of str
        Program and arguments, never a shell line. ``{image}``, ``{region}`` and ``{output}`` become paths of NIfTI
        files (``.nii.gz``); ``{image}`` and ``{output}`` must occur.
    timeout_s : float
        Seconds after which the command is killed.
    digest : str
        What stands for the program in the key of a stage run; change it when the program changes.

    Raises
    ------
    InvalidModel
        If `argv` is empty or lacks a needed placeholder.
    """

    def __init__(self, argv: Sequence[str], timeout_s: float, digest: str) -> None:
        if not argv or not all(any(mark in part for part in argv) for mark in ("{image}", "{output}")):
            raise InvalidModel("a segmentation command needs {image} and {output} among its arguments")
        self.digest = digest
        self._argv = tuple(argv)
        self._timeout_s = timeout_s

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image; see `models.segmentation.segmenter.Segmenter`.

        The answer may lie on any grid that covers the image; it is brought onto the image's grid by nearest neighbour.
        """
        check_region(region, volume.grid, needed=any("{region}" in part for part in self._argv))
        with tempfile.TemporaryDirectory(prefix="overread-command-") as name:
            folder = Path(name)
            paths = {mark: folder / f"{mark}.nii.gz" for mark in ("image", "region", "output")}
            write_nifti(paths["image"], volume.grid, volume.voxels)
            if region is not None:
                write_nifti(paths["region"], volume.grid, region)
            self._run(paths, folder)
            return self._answer(paths["output"], volume)

    def _run(self, paths: dict[str, Path], folder: Path) -> None:
        argv = list(self._argv)
        for mark, path in paths.items():
            argv = [part.replace(f"{{{mark}}}", str(path)) for part in argv]
        try:
            done = subprocess.run(
                argv,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"the segmentation command took longer than {self._timeout_s:g} s") from error
        except OSError as error:
            raise CommandFailed("the segmentation command could not be started; is the program installed?") from error
        if done.returncode != 0:
            raise CommandFailed(f"the segmentation command ended with exit code {done.returncode}")

    def _answer(self, path: Path, volume: Volume) -> SegmentationResult:
        if not path.is_file():
            raise CommandFailed("the segmentation command succeeded but wrote no output")
        try:
            grid, values = read_nifti_labels(path)
        except UnusableVolume as error:
            raise UnsuitableAnswer(f"the output of the segmentation command is unusable: {error.detail}") from error
        return SegmentationResult(labels=labels_on_grid(grid, values, volume.grid), agreement={})
