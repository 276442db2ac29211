"""Tensor formats: `table` lists them, one file each holds the bit layout and how it is unpacked."""
