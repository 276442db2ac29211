"""Figures as people read them."""

from localllm.terminal.figures import size


def test_sizes():
    assert [size(n) for n in (0, 1, 999_000, 1_000_000, 5_400_000, 999_000_000, 1_000_000_000, 23_456_000_000)] == [
        "0 kB", "1 kB", "999 kB", "1 MB", "5 MB", "999 MB", "1.0 GB", "23.5 GB",
    ]  # fmt: skip
