"""Training of generators through Accelerate: data order, averaging, exact resume, logs, sheets and cards."""
