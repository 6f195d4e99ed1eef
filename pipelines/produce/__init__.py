"""Mass production of exactly the quotas: plan, calibrate, sample in blocks, gate, settle."""
