"""How one unit of work runs: retries, timeout, concurrency, progress. Around one function each."""
