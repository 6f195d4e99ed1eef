-- One row for every image of the release: all of the catalog, and what the ledger accepted.
-- `shared` says whether the licence lets the pixels travel, which are cropped and reduced, so it must allow `derive` too; for a synthetic image what counts is `derive`, which
-- open_inputs has asked of every source its generator learned from. Synthetic images are always `train`.
CREATE TABLE released AS
SELECT
    image_id, 'real' AS kind, modality, fst, lesion, split,
    ita_deg::DOUBLE AS ita_deg,
    source, licence,
    list_has_all(licence_allows, ['share', 'derive']) AS shared,
    NULL::BIGINT AS seed_index,
    NULL::VARCHAR AS checkpoint_sha256,
    NULL::VARCHAR AS support
FROM catalog
UNION ALL
SELECT
    a.image_id, 'synthetic', a.modality, a.fst, a.lesion, 'train',
    a.ita_deg,
    a.generator, l.licence,
    true,
    a.seed_index::BIGINT,
    a.checkpoint_sha256,
    q.support
FROM ledger a
CROSS JOIN synthetic_terms l
LEFT JOIN quotas q
    ON q.modality = a.modality AND q.lesion = a.lesion AND q.fst IS NOT DISTINCT FROM a.fst
WHERE a.accepted
