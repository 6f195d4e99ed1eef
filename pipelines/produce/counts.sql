-- What became of every attempt in the ledger: one row a stratum and reason.
--
-- $ledger  the ledger's files, Parquet
SELECT modality, fst, lesion, reason, count(*) AS attempts
FROM read_parquet($ledger)
GROUP BY modality, fst, lesion, reason
ORDER BY modality, fst NULLS LAST, lesion, reason NULLS FIRST
