-- Images whose licence forbids derived works, with what ties them to others.
--
-- $catalog  the catalog with splits, Parquet
CREATE TABLE closed AS
SELECT image_id, patient_id, lesion_id, dup_cluster
FROM read_parquet($catalog)
WHERE NOT list_contains(licence_allows, 'derive');
