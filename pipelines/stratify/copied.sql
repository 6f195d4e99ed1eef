-- The pictures that were there more than once, to the pixel: each entered with one row and shows what all of them name.
--
-- in   $copies  list of Parquet files with the columns of CopyRow
-- out  copied   table (image_id)
CREATE OR REPLACE TEMP TABLE copied AS
SELECT DISTINCT image_id FROM read_parquet($copies);
