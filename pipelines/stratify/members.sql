-- The rows of the catalog that share their picture with another one, as dedupe found them.
--
-- in   $clusters  Parquet file with the columns of ClusterRow
-- out  member     table (image_id, dup_cluster, kept)
CREATE OR REPLACE TEMP TABLE member AS
SELECT image_id, dup_cluster, kept FROM read_parquet($clusters);
