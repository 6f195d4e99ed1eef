-- Every linked owner with the founder of its group: the owner in it that came first.
--
-- in   label    table (owner, label, moved), finished: both are keys of founders.sql
--      founder  table (owner, key)
-- out  grouped  table (owner, founder)
CREATE OR REPLACE TEMP TABLE grouped AS
SELECT founder.owner, substr(label.label, 7) AS founder
FROM founder JOIN label ON label.owner = founder.key;
