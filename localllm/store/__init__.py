"""Names to files: the catalog, downloads checked by SHA-256, the folder models are kept in."""
