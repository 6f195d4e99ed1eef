"""Whether the catalog may be built on: the expectations of schemas/expectations, checked with Great Expectations.

check.py     the stage: catalog, pixels and quarantine in; result.json and result.md out
batches.py   the three frames the expectations are checked on (rows.sql, counts.sql)
suite.py     the suite, and how one frame is held against it
result.py    what came out, and the one line that stops a build
"""
