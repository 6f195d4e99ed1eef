-- Which lesions, duplicate clusters and copied pictures are used by more than one owner: only these can link anything.
--
-- An image's owner is its strongest identity: the patient, else the lesion, else the image itself. Most names have one
-- owner, so this pass works on 64-bit hashes and keeps next to nothing. A name kept by a hash's accident is harmless:
-- linked.sql compares the names themselves.
--
-- in   entry    view (rows.sql)
--      copied   table (image_id)
--      member   table (image_id, dup_cluster)
-- out  shared   table (name): hashes of names with two owners or more
CREATE OR REPLACE TEMP TABLE shared AS
WITH image AS (
    SELECT
        xor(
            hash(coalesce(patient_id, lesion_id, image_id)),
            CASE WHEN patient_id IS NOT NULL THEN 1 WHEN lesion_id IS NOT NULL THEN 2 ELSE 3 END::UBIGINT
        ) AS owner,
        hash(lesion_id) AS lesion,
        lesion_id IS NOT NULL AS has_lesion,
        image_id
    FROM entry
),
named AS (
    SELECT owner, xor(lesion, 2::UBIGINT) AS name FROM image WHERE has_lesion
    UNION ALL
    SELECT owner, xor(hash(dup_cluster), 3::UBIGINT) AS name FROM image JOIN member USING (image_id)
    UNION ALL
    SELECT owner, xor(hash(image_id), 4::UBIGINT) AS name FROM image JOIN copied USING (image_id)
)
SELECT name FROM named GROUP BY name HAVING min(owner) <> max(owner);
