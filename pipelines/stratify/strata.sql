-- One row a stratum: modality x FST x lesion, with the cells that nobody is in.
--
-- $catalog    the catalog with splits, Parquet
-- $supported  training images from which a stratum is `supported`
-- $borrowed   training images from which it is `borrowed`; below, `unsupported`
WITH image AS (
    -- Arrow leaves NaN out of Parquet statistics, and DuckDB believes them (duckdb/duckdb#25521): say that it may occur.
    SELECT modality, fst, lesion, split, ita_deg FROM read_parquet($catalog, can_have_nan = true)
),
-- FST 1-6 of every modality in which anybody's FST is known ...
skin AS (
    SELECT modality, unnest(range(1, 7))::TINYINT AS fst
    FROM (SELECT modality FROM image GROUP BY modality HAVING count(fst) > 0)
),
-- ... times the lesions seen in it; unknown FST only where there are such images: nobody can be missing from it.
cell AS (
    SELECT modality, fst, lesion
    FROM skin JOIN (SELECT DISTINCT modality, lesion FROM image) USING (modality)
    UNION ALL
    SELECT DISTINCT modality, NULL::TINYINT, lesion FROM image WHERE fst IS NULL
),
counted AS (
    SELECT
        modality, fst, lesion,
        count(*) AS n_real,
        count(*) FILTER (split = 'train') AS n_train,
        count(*) FILTER (split = 'validation') AS n_validation,
        count(*) FILTER (split = 'test') AS n_test
    FROM image
    GROUP BY modality, fst, lesion
),
-- Skin tone belongs to the FST, not to the lesion: the quantiles pool all its lesions. Training images only, because
-- produce takes its tone bands from here and must not see the test set.
tone AS (
    SELECT modality, fst, quantile_cont(ita_deg::DOUBLE, [0.05, 0.5, 0.95]) AS ita
    FROM image
    WHERE split = 'train' AND ita_deg IS NOT NULL AND NOT isnan(ita_deg)
    GROUP BY modality, fst
),
whole AS (
    SELECT modality, count(*) AS images FROM image GROUP BY modality
)
SELECT
    cell.modality,
    cell.fst,
    cell.lesion,
    coalesce(n_real, 0) AS n_real,
    coalesce(n_train, 0) AS n_train,
    coalesce(n_validation, 0) AS n_validation,
    coalesce(n_test, 0) AS n_test,
    coalesce(n_real, 0) / whole.images AS share,
    tone.ita[1] AS ita_p05,
    tone.ita[2] AS ita_p50,
    tone.ita[3] AS ita_p95,
    CASE
        WHEN coalesce(n_train, 0) >= $supported THEN 'supported'
        WHEN coalesce(n_train, 0) >= $borrowed THEN 'borrowed'
        ELSE 'unsupported'
    END AS support
FROM cell
JOIN whole USING (modality)
LEFT JOIN counted
    ON counted.modality = cell.modality AND counted.lesion = cell.lesion AND counted.fst IS NOT DISTINCT FROM cell.fst
LEFT JOIN tone
    ON tone.modality = cell.modality AND tone.fst IS NOT DISTINCT FROM cell.fst
ORDER BY cell.modality, cell.fst NULLS LAST, cell.lesion;
