-- The pixels of one split and kind, by image_id: an order that no upstream shard layout can change, and that is as
-- good as shuffled, because an image_id is a hash.
SELECT
    r.image_id,
    struct_pack(bytes := p.image.bytes, path := r.image_id || '.png') AS image,
    r.kind, r.modality, r.fst, r.lesion, r.split
FROM released r
JOIN pixels p USING (image_id)
WHERE r.shared AND r.split = $split AND r.kind = $kind
ORDER BY r.image_id
