-- Every row that can tie people together: the catalog's, also those that dedupe left out, and those that stayed out at
-- ingest because their pixels were there already. Read anew by each statement that uses it; nothing of it is kept.
--
-- in   $catalog  list of Parquet files with the columns of CatalogRow
--      $copies   list of Parquet files with the columns of CopyRow
-- out  the view  entry (image_id, source, patient_id, lesion_id, licence_allows)
SELECT image_id, source, patient_id, lesion_id, licence_allows FROM read_parquet($catalog)
UNION ALL
SELECT image_id, source, patient_id, lesion_id, licence_allows FROM read_parquet($copies)
