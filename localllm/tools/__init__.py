"""Measurements over whole models: bench."""
