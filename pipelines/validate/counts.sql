-- The whole stage in one row, for the `counts` expectations.
--
-- catalog, images, quarantine  views with the columns of CatalogRow, PixelRow and QuarantineRow
-- $rows_in_sources             rows (and files without one) that data/sources.json counted; null if it is not there
WITH counts AS (
    SELECT
        (SELECT count(*) FROM catalog) AS catalog_rows,
        (SELECT count(*) FROM quarantine) AS quarantine_rows,
        (SELECT count(*) FROM images) AS image_rows,
        (SELECT count(*) FROM images ANTI JOIN catalog USING (image_id)) AS pixels_without_catalog_row,
        (SELECT coalesce(count_if(ita_deg IS NULL) / nullif(count(*), 0), 0) FROM catalog) AS ita_missing_share
)
SELECT
    *,
    catalog_rows + quarantine_rows AS rows_in,
    $rows_in_sources::BIGINT AS rows_in_sources,
    coalesce(quarantine_rows / nullif(catalog_rows + quarantine_rows, 0), 0) AS quarantine_share
FROM counts;
