"""Stage `dedupe`: which catalog rows show the same picture, within and across sources, and what becomes of them.

find.py       the stage: catalog and pixels in; clusters, pairs and quarantine out
hashing.py    64-bit perceptual hashes of the 8 flips and quarter turns, from one cosine transform
search.py     all pairs of near hashes, exactly, in memory that grows with the images
confirm.py    whether a near pair is the same picture: structure, then features, in the pose that fits
clusters.py   connected components, disputed labels, who stays
"""
