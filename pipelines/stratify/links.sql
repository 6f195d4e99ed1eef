-- Which owners must share a split, as pairs of keys: each with the earliest one that uses the same name.
--
-- in   linked   table (owner, name)
--      founder  table (owner, key)
-- out  link     table (a, b)
CREATE OR REPLACE TEMP TABLE link AS
WITH named AS (
    SELECT name, key FROM linked JOIN founder USING (owner)
),
first AS (
    SELECT name, min(key) AS earliest FROM named GROUP BY name
)
SELECT DISTINCT key AS a, earliest AS b
FROM named JOIN first USING (name)
WHERE key <> earliest;
