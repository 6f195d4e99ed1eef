"""Who is there and who is missing: patient-disjoint splits, strata, and the quotas that would balance them.

strata.py    the stage: catalog in, three tables out
grouping.py  which images must share a split (links.sql, hook.sql)
splits.sql   the split of every image
strata.sql   modality x FST x lesion, counted
quotas.py    how many images of each stratum to make, and why not more
query.py     how a .sql file is run and its rows are written
"""
