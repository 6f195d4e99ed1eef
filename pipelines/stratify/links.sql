-- Which owners must share a split.
--
-- An image's owner is its strongest identity: the patient, else the lesion, else the duplicate cluster, else itself.
-- The digit in front makes the strongest kind sort first. Two owners are linked when they use the same lesion or
-- duplicate cluster. A name that one owner alone uses links nothing and is dropped here, which leaves very few rows.
--
-- $catalog  list of Parquet files with the columns of CatalogRow
CREATE OR REPLACE TEMP TABLE link AS
WITH image AS (
    SELECT
        coalesce('1:' || patient_id, '2:' || lesion_id, '3:' || coalesce(dup_cluster, image_id)) AS owner,
        lesion_id,
        dup_cluster
    FROM read_parquet($catalog)
),
named AS (
    SELECT owner, '2:' || lesion_id AS name FROM image WHERE lesion_id IS NOT NULL
    UNION ALL
    SELECT owner, '3:' || dup_cluster AS name FROM image WHERE dup_cluster IS NOT NULL
),
shared AS (
    SELECT name, min(owner) AS first_owner FROM named GROUP BY name HAVING min(owner) <> max(owner)
)
SELECT DISTINCT named.owner AS a, shared.first_owner AS b
FROM named JOIN shared USING (name)
WHERE named.owner <> shared.first_owner;
