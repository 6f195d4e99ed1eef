"""What was made, measured: counts, fidelity, tone and what a classifier gains."""
