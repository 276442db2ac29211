"""A vocabulary of the tokenizer model plamo2, and what llama.cpp makes of texts with it.

pip install llama-cpp-python gguf        # compiles llama.cpp; not a dependency of localllm
python -m tests.text.plamo2              # prints RECORDED
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from localllm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from tests.text.build import metadata

SPECIAL = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = {
    "a": -3.0, "b": -3.5, "ab": -6.5, "abc": -7.25, "bc": -3.00005, "c": -4.0, "aba": -9.0, "cab": -5.0, " ": -2.0,
    "the": -4.0, " the": -4.5, "t": -5.0, "h": -5.0, "e": -3.0, "he": -6.0, "quick": -8.0, "\n": -3.0, "  ": -3.9,
    "日本": -7.0, "日": -6.0, "本語": -6.5, "語": -7.0, "日本語": -13.4, "é": -8.0, "🙂": -11.0, "x": -999.0,
    "xy": -1999.0, "zz": -2000.0, "q": float("-1500"), "zzz": -30.0, "1": -4.0, "12": -7.9999, "▁": -6.0,
}  # fmt: skip
"""Some with equal sums, with scores below that of a character in bytes (-1000), and one that is not valid (-2000)."""
DATA = metadata(
    "plamo2", [*SPECIAL, *BYTES, *PIECES, "<user>", "unused"],
    [UNKNOWN, CONTROL, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(PIECES), USER_DEFINED, UNUSED],
    scores=[*[-50.0] * 4, *[0.0] * 256, *PIECES.values(), -1.0, -9.0],
)  # fmt: skip
TEXTS = [
    "", "a", "abc", "abcabcab", "ababab aba", " the quick the  he\n\n", "日本語 日本 本語語", "é e\u0301 🙂🙂 ñ",
    "x xy xyxy q",
    "zz zzz zzzz zzzzz", "\ufeffabc", "a\ufeffabc", "12 121 112", "<user>a<user>", "unusedunused", "a <|plamo:eos|> b",
    "<0x41>", "\x00\x01\x7f\x80", "▁the▁", "߿ࠀ￿𐀀",
]  # fmt: skip
RECORDED: list[tuple[list[int], list[int]]] = [
    ([], []),
    ([260], [260]),
    ([260, 264], [260, 264]),
    ([262, 267, 267], [262, 267, 267]),
    ([266, 261, 262, 268, 266], [266, 261, 262, 268, 266]),
    ([270, 268, 275, 270, 277, 274, 276, 276], [270, 268, 275, 270, 277, 274, 276, 276]),
    ([279, 280, 268, 278, 268, 280, 281], [279, 280, 268, 278, 268, 280, 281]),
    ([283, 268, 273, 208, 133, 268, 284, 284, 268, 199, 181], [283, 268, 273, 208, 133, 268, 284, 284, 268, 199,
        181]),
    ([285, 268, 286, 268, 286, 286, 268, 117], [285, 268, 286, 268, 286, 286, 268, 117]),
    ([126, 126, 268, 289, 268, 289, 126, 268, 289, 126, 126], [126, 126, 268, 289, 268, 289, 126, 268, 289, 126,
        126]),
    ([260, 264], [260, 264]),
    ([260, 243, 191, 195, 260, 264], [260, 243, 191, 195, 260, 264]),
    ([291, 268, 291, 290, 268, 290, 291], [291, 268, 291, 290, 268, 290, 291]),
    ([293, 260, 293], [293, 260, 293]),
    ([294, 294], [294, 294]),
    ([260, 268, 2, 268, 261], [260, 268, 2, 268, 261]),
    ([64, 52, 285, 56, 290, 66], [64, 52, 285, 56, 290, 66]),
    ([4, 5, 131, 198, 132], [4, 5, 131, 198, 132]),
    ([292, 269, 292], [292, 269, 292]),
    ([227, 195, 228, 164, 132, 243, 195, 195, 244, 148, 132, 132], [227, 195, 228, 164, 132, 243, 195, 195, 244, 148,
        132, 132]),
]  # fmt: skip
"""Of each text: ids without special tokens parsed, and with them and what the file adds."""


def written(path: Path) -> Path:
    """DATA as a file that holds a vocabulary alone."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "plamo2")
    writer.add_tokenizer_model("plamo2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(DATA["tokenizer.ggml.tokens"])
    writer.add_token_scores(DATA["tokenizer.ggml.scores"])
    writer.add_token_types(DATA["tokenizer.ggml.token_type"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def record() -> list[tuple[list[int], list[int]]]:
    import llama_cpp as lib

    with tempfile.TemporaryDirectory() as folder:
        parameters = lib.llama_model_default_params()
        parameters.vocab_only = True
        model = lib.llama_model_load_from_file(str(written(Path(folder) / "v.gguf")).encode(), parameters)
        vocab = lib.llama_model_get_vocab(model)

    def ids(text: str, special: bool) -> list[int]:
        raw, out = text.encode(), (lib.llama_token * 4096)()
        n = lib.llama_tokenize(vocab, raw, len(raw), out, 4096, special, special)
        return list(out[:n])

    return [(ids(text, False), ids(text, True)) for text in TEXTS]


if __name__ == "__main__":
    print(record())
