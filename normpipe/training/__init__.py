"""Fitting and training of normalizers; not needed to run them."""
