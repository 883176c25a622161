"""Image quality control: reject rules and image quality metrics on numpy and scipy; needs no torch."""
