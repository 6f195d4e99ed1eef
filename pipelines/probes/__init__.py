"""Small classifiers on frozen features: the measuring instruments of gates and evaluation."""
