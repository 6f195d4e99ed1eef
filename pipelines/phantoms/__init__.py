"""Skin images drawn from a small optical model, with exact FST, lesion, mask and ITA. Never a patient."""
