"""Parquet tables on disk: opened in DuckDB, asked in .sql files, written under their declared schema.

query.py   the database and its limits, the text of a .sql file, the catalog's files, rows as a stream
"""
