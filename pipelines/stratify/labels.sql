-- Where hook.sql starts: every linked key is its own label.
--
-- in   link   table (a, b)
-- out  label  table (owner, label, moved)
CREATE OR REPLACE TEMP TABLE label AS
SELECT owner, owner AS label, true AS moved FROM (SELECT a AS owner FROM link UNION SELECT b FROM link);
