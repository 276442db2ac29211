"""Quantizing models: sources of float tensors, calibration, methods of rounding, mixtures of formats, the writer."""
