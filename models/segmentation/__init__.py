"""Segmentation stages: the built-in 3-D U-Net ensemble, MONAI bundles, external commands."""
