"""Architectures, a file each: see `localllm.model.spec` for what the fields mean."""
