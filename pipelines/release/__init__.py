"""Releases: writing them from what the earlier stages made, verifying them, and tracing an image through them."""
