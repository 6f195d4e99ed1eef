-- The split of every row of a piece of the catalog, and its duplicate cluster. A group is a component of patients,
-- lesions and duplicate clusters; its founder is hashed with the seed, and the first 32 bits of the hash choose the
-- split. The split therefore depends on the group alone: rows of other patients never move it, nor does their order.
-- A group that may not be learned from is `test`, whatever its draw.
-- A row that a better copy replaced, or whose label is disputed, is left out.
--
-- in   piece              table (row, image_id, patient_id, lesion_id); row counts from 0
--      grouped            table (owner, founder), linked owners only
--      closed             table (founder)
--      member             table (image_id, dup_cluster, kept), rows in a cluster only
--      $seed              stratify.seed
--      $train_below       hashes under this are `train`; 0 to 2^32
--      $validation_below  then, hashes under this are `validation`; the rest is `test`
-- out  (row, split, dup_cluster), in the order of the rows
WITH image AS (
    SELECT row, image_id, coalesce('1:' || patient_id, '2:' || lesion_id, '3:' || image_id) AS owner
    FROM piece
),
known AS (
    SELECT row, dup_cluster, coalesce(founder, owner) AS founder
    FROM image
    LEFT JOIN grouped USING (owner)
    LEFT JOIN member USING (image_id)
    WHERE coalesce(kept, true)
),
drawn AS (
    SELECT
        row, dup_cluster, closed.founder IS NOT NULL AS is_closed,
        ('0x' || substr(sha256($seed || ':' || known.founder), 1, 8))::UBIGINT AS draw
    FROM known LEFT JOIN closed USING (founder)
)
SELECT
    row,
    CASE
        WHEN is_closed THEN 'test'
        WHEN draw < $train_below THEN 'train'
        WHEN draw < $validation_below THEN 'validation'
        ELSE 'test'
    END AS split,
    dup_cluster
FROM drawn
ORDER BY row;
