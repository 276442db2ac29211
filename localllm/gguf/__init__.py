"""GGUF files: a bounds-checked reader of metadata and tensor directory over a memory map."""
