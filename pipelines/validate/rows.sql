-- The catalog as the `rows` batches see it, in a fixed order so that the first failing rows are always the same ones.
--
-- pixel_rows      how many rows of data/images hold this image's pixels; 1 is right
-- licence_allows  the list as text, `share,derive`: pandas cannot look inside list cells
-- ita_deg         NaN as infinity: pandas would take NaN for null and let it pass
--
-- catalog, images  views with the columns of CatalogRow and PixelRow
SELECT
    c.image_id, c.source, c.source_row_id, c.source_sha256, c.modality, c.lesion, c.fst, c.fst_source,
    CASE WHEN isnan(c.ita_deg) THEN 'infinity'::FLOAT ELSE c.ita_deg END AS ita_deg,
    c.ita_pixels, c.width, c.height, c.licence, c.split, c.colour_constancy,
    c.fst_second, c.fst_second_source, c.tone_group, c.monk, c.monk_second, c.label_weight,
    array_to_string(c.licence_allows, ',') AS licence_allows,
    coalesce(p.pixel_rows, 0) AS pixel_rows
FROM catalog AS c
LEFT JOIN (SELECT image_id, count(*) AS pixel_rows FROM images GROUP BY image_id) AS p USING (image_id)
ORDER BY c.source, c.source_row_id, c.image_id;
