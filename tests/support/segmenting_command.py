"""A stand-in for a network: an external command that segments by threshold, the same way every time.

usage: segmenting_command.py core IMAGE OUTPUT | halves IMAGE OUTPUT REGION | file IMAGE OUTPUT LABELS.nii.gz
"""

from __future__ import annotations

import sys

import nibabel
import numpy as np


def main() -> int:
    """Write labels for the image named on the command line."""
    mode, image_path, output_path, *more = sys.argv[1:]
    image = nibabel.load(image_path)
    if mode == "file":
        nibabel.save(nibabel.load(more[0]), output_path)
        return 0
    voxels = np.asanyarray(image.dataobj)
    if mode == "core":
        labels = (voxels > (voxels.min() + voxels.max()) / 2).astype(np.uint8)
    else:
        region = np.asanyarray(nibabel.load(more[0]).dataobj) > 0
        along = np.arange(region.shape[1])[None, :, None]
        middle = np.median(np.nonzero(region)[1]) if region.any() else 0
        labels = np.where(region, np.where(along <= middle, 1, 2), 0).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), output_path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
