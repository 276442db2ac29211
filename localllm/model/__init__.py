"""Architectures as specs, weights as validated views, the recorded forward, caches, contexts."""
