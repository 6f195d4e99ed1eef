"""Conditional image generators behind one interface. A new one is one file and one line in `registry`."""
