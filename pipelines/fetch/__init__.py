"""Sources that are not local folders, mirrored under data/fetched: from S3, and from URLs that a table names."""
