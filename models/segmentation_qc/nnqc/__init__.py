"""Segmentation QC by latent diffusion (nnQC): paint the mask an expert would have drawn, and compare.

Marciano et al., IEEE TMI 2026, doi 10.1109/TMI.2026.3714697, arXiv 2511.09588; `preset` says what is published and
what is changed.
"""
