"""Stage `ingest`: source rows become catalog rows and normalised pixels, or quarantine rows with a reason."""
