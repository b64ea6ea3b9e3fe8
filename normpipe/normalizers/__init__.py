"""Normalizers: aligned face in, the same expression on the common identity out."""
