"""How things are computed. One folder a stage, one folder a shared noun; no Prefect, no DVC."""
