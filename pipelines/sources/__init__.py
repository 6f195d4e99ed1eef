"""Stage `sources`: one adapter a dataset behind one interface, and the fingerprint that tells a changed one."""
