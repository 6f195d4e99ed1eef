-- Every planned stratum before and after. `missing` counts from the target, `shortfall` from the quota; `worst` is the
-- gate that refused most of the stratum's attempts.
WITH attempted AS (
    SELECT modality, fst, lesion, count(*) AS attempts, count(*) FILTER (accepted) AS accepted
    FROM ledger
    GROUP BY modality, fst, lesion
),
refused AS (
    SELECT modality, fst, lesion, reason, count(*) AS n
    FROM ledger
    WHERE NOT accepted AND reason <> 'surplus'
    GROUP BY modality, fst, lesion, reason
),
worst AS (
    SELECT * FROM refused
    QUALIFY row_number() OVER (PARTITION BY modality, fst, lesion ORDER BY n DESC, reason) = 1
)
SELECT
    q.modality, q.fst, q.lesion,
    q.have AS n_real,
    coalesce(a.accepted, 0) AS n_synthetic,
    q.have + coalesce(a.accepted, 0) AS n_after,
    q.target, q.need, q.quota,
    coalesce(a.attempts, 0) AS attempts,
    greatest(q.quota - coalesce(a.accepted, 0), 0) AS shortfall,
    greatest(q.need - coalesce(a.accepted, 0), 0) AS missing,
    q.support,
    q.reason,
    w.reason AS worst,
    w.n AS worst_count
FROM quotas q
LEFT JOIN attempted a ON a.modality = q.modality AND a.lesion = q.lesion AND a.fst IS NOT DISTINCT FROM q.fst
LEFT JOIN worst w ON w.modality = q.modality AND w.lesion = q.lesion AND w.fst IS NOT DISTINCT FROM q.fst
ORDER BY q.modality, q.fst NULLS LAST, q.lesion
