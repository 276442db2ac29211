"""Methods of rounding a tensor to a format: one file each."""
