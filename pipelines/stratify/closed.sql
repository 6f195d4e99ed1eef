-- The groups that may not be learned from: a licence of one of their pictures forbids derived works. They are `test`,
-- whole, or a patient would lie on both sides. A picture that dedupe left out, or whose pixels were there already,
-- counts too: its patient's other pictures are under the same licence, and what stays in its place is the same picture.
--
-- in   entry    view (rows.sql)
--      grouped  table (owner, founder), linked owners only
-- out  closed   table (founder): of unlinked owners the owner itself
CREATE OR REPLACE TEMP TABLE closed AS
WITH image AS (
    SELECT coalesce('1:' || patient_id, '2:' || lesion_id, '3:' || image_id) AS owner
    FROM entry
    WHERE NOT list_contains(licence_allows, 'derive')
)
SELECT DISTINCT coalesce(founder, owner) AS founder FROM image LEFT JOIN grouped USING (owner);
