"""Segmentation quality control: predicted Dice with an interval, plausibility rules, pseudo ground truth."""
