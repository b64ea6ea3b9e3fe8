"""Fitting and training of normalizers, and what every training has in common; not needed to run them."""
