"""Who is there and who is missing: patient-disjoint splits, strata, and the quotas that would balance them.

strata.py    the stage: catalog and duplicates in, three tables out
grouping.py  which images must share a split: members, copied, rows, shared, linked, founders, links, labels, hook,
             groups.sql; and which groups may not be learned from: closed.sql
splits.py    the split of every image, piece by piece (splits.sql)
strata.sql   modality x FST x lesion, counted
quotas.py    how many images of each stratum to make, and why not more
targets.py   what each policy wants: equal, parity, match, table (quota_table.py reads it, shares.py rounds)
"""
