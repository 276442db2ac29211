"""Figures as people read them."""

from __future__ import annotations


def size(n_bytes: float) -> str:
    """Bytes: 12 kB, 98 MB, 2.5 GB."""
    if n_bytes >= 10**9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 10**6 else f"{-(-n_bytes // 1000):.0f} kB"
