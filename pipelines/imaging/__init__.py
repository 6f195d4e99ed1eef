"""Pixels: decoding, normalising, colour and tone, the spectral transform, contact sheets."""
