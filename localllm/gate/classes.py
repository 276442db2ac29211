"""Classes of malformed files, by the numbers that checks and tests name, and what more is done about some."""

from __future__ import annotations

CLASSES: dict[int, str] = dict(
    enumerate(
        (
            # header
            "empty file", "less than a header", "magic", "version 0", "version 1", "a future version", "byte order",
            "number of tensors -1 or 2^63", "number of keys -1 or 2^63", "counts × least record over the file",
            # keys and values
            "key length 2^63", "empty key", "key that is not UTF-8, or has a NUL", "bad type of a value",
            "key that stands twice", "string over the rest of the file", "bool of 2", "NaN or infinite number",
            "cut within a value",
            # arrays
            "array count 2^63", "array over the rest of the file", "arrays nested 10^5 deep", "bad type of elements",
            "wrong type of elements", "metadata over their cap",
            # alignment
            "alignment 0", "alignment no power of two", "alignment of a wrong type", "alignment 2^31",
            "padding past the end",
            # tensor directory
            "tensor name of 64 bytes or more", "tensor name empty or with a NUL", "tensor name that stands twice",
            "0, 5 or 2^32-1 dimensions", "dimension of 0", "negative dimension", "number of elements that wraps",
            "number of bytes that wraps", "padding that wraps", "sum of sizes that wraps", "type -1 or huge",
            "removed type", "row that is no whole blocks",
            # data
            "unaligned offset", "overlap", "gap, or out of order", "end past the file", "one byte short",
            "cut at a record's boundary", "cut while it is mapped", "replaced while it is mapped",
            "NaN or infinite scales",
            # architecture
            "missing or unknown architecture", "missing tensor", "shape unlike the metadata",
            "type that a role does not take", "0 or 2^32-1 layers", "0 heads",
            "0 key-value heads, or some that do not divide", "width that heads do not divide",
            "context of 0 or 2^63", "RoPE dimensions odd, or more than a head has", "frequency base 0 or NaN",
            "epsilon 0, negative or NaN", "0 experts used, or more than there are", "lists a layer that are too short",
            "window of 0, or negative",
            # vocabulary
            "no vocabulary, or an empty one", "vocabulary unlike the embedding's rows", "scores or types too short",
            "token that stands twice", "special id that is no token", "bad, cyclic or 10^7 merges",
            "byte tokens malformed or missing", "token of 100 MB", "charsmap cut short",
            "unknown kind of vocabulary or pre-tokenizer", "template of a wrong type, huge, or hostile",
            # files
            "split: count, number, duplicates, foreign paths", "pipe, directory or device",
        ),
        start=1,
    )
)  # fmt: skip

BEYOND: dict[int, str] = {
    50: "looked at before each pass; in between, what handles SIGBUS",
    51: "looked at before each pass",
    52: "what watches for numbers that are not finite while a model runs",
    73: "merges that lead in a circle end: each makes a text shorter",
    78: "the sandbox of templates, with limits of time and memory",
}
"""What is done about a class where a check that looks once, before a model runs, is not all."""
