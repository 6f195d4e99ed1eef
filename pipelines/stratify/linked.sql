-- The owners behind the shared names, each with its name: the edges of the graph that grouping.py walks.
--
-- in   entry    view (rows.sql)
--      copied   table (image_id)
--      member   table (image_id, dup_cluster)
--      shared   table (name), hashes (shared.sql)
-- out  linked   table (owner, name)
CREATE OR REPLACE TEMP TABLE linked AS
WITH image AS (
    SELECT coalesce('1:' || patient_id, '2:' || lesion_id, '3:' || image_id) AS owner, lesion_id, image_id
    FROM entry
)
SELECT owner, '2:' || lesion_id AS name
FROM image
WHERE lesion_id IS NOT NULL AND xor(hash(lesion_id), 2::UBIGINT) IN (SELECT name FROM shared)
UNION
SELECT owner, '3:' || dup_cluster AS name
FROM image JOIN member USING (image_id)
WHERE xor(hash(dup_cluster), 3::UBIGINT) IN (SELECT name FROM shared)
UNION
SELECT owner, '4:' || image_id AS name
FROM image JOIN copied USING (image_id)
WHERE xor(hash(image_id), 4::UBIGINT) IN (SELECT name FROM shared);
