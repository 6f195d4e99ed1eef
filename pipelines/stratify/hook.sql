-- One round of connected components over `link`; repeat until no row has `moved`.
--
-- in   link   table (a, b)
-- out  label  table (owner, label, moved), replaced
--
-- Every owner's label is an owner of the same component, at first itself. A round takes the smallest label among the
-- owner's own, its label's, and its neighbours', and hands it to the old label too, so that whole trees move at once:
-- the FastSV scheme (Zhang, Azad, Hu 2020), a few rounds even on long chains. At the end the label is the component's
-- smallest owner, whatever the order of the rows.
CREATE OR REPLACE TEMP TABLE label AS
WITH both_ways AS (
    SELECT a, b FROM link
    UNION ALL
    SELECT b, a FROM link
),
lifted AS (
    SELECT low.owner, low.label, high.label AS up FROM label AS low JOIN label AS high ON high.owner = low.label
),
offers AS (
    SELECT owner, up AS offer, label AS own FROM lifted
    UNION ALL
    SELECT here.owner, there.up, NULL
    FROM both_ways JOIN lifted AS here ON here.owner = a JOIN lifted AS there ON there.owner = b
    UNION ALL
    SELECT here.label, there.up, NULL
    FROM both_ways JOIN lifted AS here ON here.owner = a JOIN lifted AS there ON there.owner = b
)
SELECT owner, min(offer) AS label, min(offer) < max(own) AS moved
FROM offers
GROUP BY owner;
