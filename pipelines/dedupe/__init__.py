"""Stage `dedupe`: which catalog rows show the same picture, within and across sources, and what becomes of them.

find.py       the stage: catalog and pixels in; clusters, pairs and quarantine out
search.py     all pairs of near hashes, exactly, in memory that grows with the images
confirm.py    whether a near pair is the same picture: structure, then features, in the pose that fits
copies.py     exact copies that name another lesion than the row that entered
clusters.py   connected components, disputed labels, who stays
"""
