-- How early each linked owner came: the place of its first source in params.yaml, then the owner's own name.
--
-- in   entry     view (rows.sql)
--      $sources  names of sources.use in the order of params.yaml
--      linked    table (owner, name)
-- out  founder   table (owner, key): keys sort as the owners came
CREATE OR REPLACE TEMP TABLE founder AS
WITH image AS (
    SELECT
        coalesce('1:' || patient_id, '2:' || lesion_id, '3:' || image_id) AS owner,
        coalesce(list_position($sources::VARCHAR[], source), 99999) AS place
    FROM entry
)
SELECT owner, format('{:05d}:{}', min(place)::INTEGER, owner) AS key
FROM image
WHERE owner IN (SELECT owner FROM linked)
GROUP BY owner;
