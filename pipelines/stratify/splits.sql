-- The catalog with `split` set. A group is a component of patients, lesions and duplicate clusters (hook.sql); its
-- key is hashed with the seed, and the first 32 bits of the hash choose the split. The split therefore depends on
-- the group alone: rows of other patients never move it, and neither does the order of the rows.
--
-- $catalog           list of Parquet files with the columns of CatalogRow
-- $seed              stratify.seed
-- $train_below       hashes under this are `train`; 0 to 2^32
-- $validation_below  then, hashes under this are `validation`; the rest is `test`
WITH image AS (
    SELECT *, coalesce('1:' || patient_id, '2:' || lesion_id, '3:' || coalesce(dup_cluster, image_id)) AS owner
    FROM read_parquet($catalog)
),
drawn AS (
    SELECT
        image.*,
        ('0x' || substr(sha256($seed || ':' || coalesce(label.label, image.owner)), 1, 8))::UBIGINT AS draw
    FROM image LEFT JOIN label USING (owner)
)
SELECT * EXCLUDE (owner, draw) REPLACE (
    CASE
        WHEN draw < $train_below THEN 'train'
        WHEN draw < $validation_below THEN 'validation'
        ELSE 'test'
    END AS split
)
FROM drawn
ORDER BY source, source_row_id, image_id;
