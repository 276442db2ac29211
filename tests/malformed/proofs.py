"""Public proofs of concept, rebuilt from their descriptions: advisories and issues of llama.cpp, ollama and other
readers of GGUF. Each names its source; none of their code was used."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from tests.gguf import build as b
from tests.malformed.base import Model, Tensor, Typed, array, model, of_bytes, with_vocabulary
from tests.malformed.case import Case, Stage
from tests.malformed.parser import ZERO, tensors
from tests.text.build import prefixed
from tests.text.test_hostile_vocabulary import KINDS

TOP = 2**64
S = Stage.PARSER


def nested(depth: int) -> bytes:
    return b.gguf([b.string("n") + b.pack("I", b.ARR) + b.pack("IQ", b.ARR, 1) * depth + b.pack("IQ", b.U8, 0)])


def vocabulary(kind: str, **changes: Any) -> Model:
    data = KINDS[kind]() | prefixed(changes)
    return with_vocabulary({key: value for key, value in data.items() if value is not None})


def sum_that_wraps() -> bytes:
    """Sizes whose sum is a small number modulo 2^64: each row by itself is possible."""
    return tensors(
        b.tensor("a", (2**62 - 8, 1)), b.tensor("b", (32,), offset=TOP - 32), b.tensor("c", (8,), offset=0), data=ZERO
    )


def past_the_end() -> bytes:
    """The file ends long before the embedding does; `quantize` would have read what lies behind it."""
    content = model().bytes()
    return content[: len(content) // 2]


def second_dimension() -> bytes:
    """2^42 + 1 columns: times the stride it is 2^64 and a little."""
    return model().with_tensors(token_embd__weight=Tensor((1152, 2**42 + 1), 8, ZERO)).bytes()


def byte_tokens(last: str) -> Model:
    tokens = [f"<0x{i:02X}>" for i in range(255)] + [last]
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "unknown_token_id"))
    return vocabulary("llama", tokens=tokens, token_type=[6] * 256, scores=[0.0] * 256, **ids)


def small_vocabulary(**keys: Any) -> Model:
    """One token; the ids that kinds have by default (1, 2, 11) are none of it."""
    one: dict[str, Any] = {"tokens": ["<a>"], "token_type": [3], "scores": [0.0]}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "unknown_token_id"))
    return vocabulary("llama", **(one | ids | keys))


def with_experts(**changes: Any) -> Model:
    """Two experts, whose tensors say otherwise than the metadata."""
    made = model().with_keys(**{"expert_count": 2, "expert_used_count": 1, **changes})
    for i in range(2):
        made = made.with_tensors(**{
            f"blk__{i}__ffn_gate_inp__weight": Tensor((64, 2)), f"blk__{i}__ffn_gate__weight": None,
            f"blk__{i}__ffn_up__weight": None, f"blk__{i}__ffn_down__weight": None,
            f"blk__{i}__ffn_gate_exps__weight": Tensor((64, 96, 2)),
            f"blk__{i}__ffn_up_exps__weight": Tensor((64, 96, 2)),
            f"blk__{i}__ffn_down_exps__weight": Tensor((96, 64, 2)),
        })  # fmt: skip
    return made


Q4_0_WRAPS = 5124095576030431008
"""Elements whose bytes, multiplied before they are divided, are 2 modulo 2^64."""

# source, what it is, classes, the file, words of the error, where it is refused
PROOFS: list[tuple[str, str, tuple[int, ...], bytes | Callable[[], bytes], str, Stage]] = [
    # memory of the parser
    ("CVE-2024-23605", "n_kv so large that the size of its array wraps", (9,),
     b.gguf(n_kv=TOP // 24 + 1), "n_kv: 768614336404564651", S),
    ("CVE-2024-21836", "n_tensors so large that the size of its array wraps", (8,),
     b.gguf(n_tensors=TOP // 72 + 1), "n_tensors", S),
    ("CVE-2024-21802", "five dimensions where four have room", (34,),
     tensors(b.tensor(shape=(1, 1, 1, 1, 2**40))), "5 dimensions", S),
    ("CVE-2024-21825", "an array whose count times its element wraps", (20,),
     b.gguf([b.array("a", b.U64, [], 2**61)]), "array elements", S),
    ("CVE-2024-21825", "an array of strings whose count wraps", (20,),
     b.gguf([b.array("a", b.STR, [], TOP // 16 + 1)]), "array elements", S),
    ("CVE-2024-23496", "a string of 2^64-1 bytes: one more is 0", (16,),
     b.gguf([b.string("k") + b.pack("IQ", b.STR, TOP - 1) + bytes(64)]), "18446744073709551615 bytes", S),
    ("CVE-2024-23496", "a key of 2^64-1 bytes", (11,),
     b.gguf([b.pack("Q", TOP - 1) + bytes(64)]), "length 18446744073709551615", S),
    ("CVE-2025-53630", "sizes of tensors whose sum wraps", (40,), sum_that_wraps(), "tensor a", S),
    ("CVE-2026-33298", "a second dimension that makes the bytes wrap", (38,), second_dimension, "token_embd", S),
    ("CVE-2026-27940", "so many tensors that their overhead wraps", (8,),
     b.gguf(n_tensors=TOP // 368 + 1), "n_tensors", S),
    ("ggml-org/llama.cpp#15711", "n_tensors below the limit of one record and above that of another", (8,),
     b.gguf(n_tensors=TOP // 2 // 72 - 1), "n_tensors", S),
    ("ggml-org/llama.cpp#24759", "bytes that wrap when they are padded", (39,),
     tensors(b.tensor("a", (2**62 - 1,)), b.tensor("b", (8,), offset=0)), "tensor a", S),
    ("ggml-org/llama.cpp#27200", "blocks of Q4_0 whose bytes wrap to 2", (38, 43),
     tensors(b.tensor(shape=(Q4_0_WRAPS,), kind=2)), "tensor t", S),
    ("ggml-org/llama.cpp#27203", "elements that wrap to a negative number", (37,),
     tensors(b.tensor(shape=(2**63 - 1, 2), kind=24)), "tensor t: data ends at byte", S),
    ("ggml-org/llama.cpp#26245", "four dimensions whose product wraps", (37,),
     tensors(b.tensor(shape=(2**32, 2**32, 2**32, 2**32))), "tensor t: data ends at byte", S),
    ("ggml-org/llama.cpp#18674", "2^62 elements of 4 bytes", (38,),
     tensors(b.tensor(shape=(2**31, 2**31))), "tensor t: data ends at byte", S),
    # aborts of the parser
    ("ggml-org/llama.cpp#24884", "an empty key in 37 bytes", (12,),
     b.gguf([b.kv("", b.U8, 0)]), "1 keys take 14 bytes or more, 13 are left", S),
    ("ggml-org/llama.cpp#24885", "an alignment of another type", (28,),
     b.gguf([b.kv("general.alignment", b.I32, 32)]), "is of type i32, must be u32", S),
    ("ggml-org/llama.cpp#26318", "an alignment of a float", (28,),
     b.gguf([b.kv("general.alignment", b.F32, 32.0)]), "must be u32", S),
    ("ggml-org/llama.cpp test-gguf", "a dimension of 0, by which others are divided", (35,),
     tensors(b.tensor(shape=(0, 32, 32))), "every dimension must be 1 or more", S),
    ("ggml-org/llama.cpp#6774", "a model cut in the middle, which a map would read", (47, 49),
     past_the_end, "truncated", S),
    # ollama and other readers
    ("CVE-2024-39720", "the magic, and nothing else", (2,), b"GGUF", "4 bytes long", S),
    ("CVE-2024-39720", "the magic and a version", (2,), b"GGUF\3\0\0\0", "8 bytes long", S),
    ("CVE-2024-8063", "block_count 0, by which is divided", (57,),
     model().with_keys(block_count=0).bytes, "block_count: is 0", Stage.MODEL),
    ("CVE-2024-12055", "a block_count that no tensor follows", (54, 57),
     model().with_keys(block_count=64).bytes, "blk.2.", Stage.MODEL),
    ("CVE-2026-7482", "a tensor's offset and size past the end", (47,),
     tensors(b.tensor(shape=(2**20, 16))), "tensor t: data ends at byte", S),
    ("CVE-2026-7482", "an offset past the end, a size that fits", (44, 47),
     tensors(b.tensor(offset=2**30)), "data offset 1073741824", S),
    ("ollama/ollama#17032", "a string length that is negative as a signed number, in 36 bytes", (16,),
     (b.gguf(n_kv=1) + b.pack("Q", 1) + b"k" + b.pack("I", b.STR) + b.pack("Q", TOP - 1))[:36], "", S),
    ("ollama/ollama#17033", "version 1 with an empty string", (5,),
     b.gguf(version=1, n_kv=1) + b.pack("I", 0), "version: 1", S),
    ("ollama/ollama#17042", "a count of 2^40 elements in 60 bytes", (20,),
     b.gguf([b.array("a", b.STR, [], 2**40)]), "array elements", S),
    ("ollama/ollama#14489", "2^31 dimensions", (34,), tensors(b.tensor(n_dims=2**31)), "2147483648 dimensions", S),
    ("ggml-org/llama.cpp#27188", "an array of 2^63 in 43 bytes, on which gguf-py hangs", (20,),
     b.gguf([b.string("abc") + b.pack("IIQ", b.ARR, b.U8, 2**63)]), "9223372036854775808 array elements", S),
    ("ggml-org/llama.cpp#27188", "an array of arrays of 2^62", (20, 22),
     b.gguf([b.string("a") + b.pack("IIQ", b.ARR, b.ARR, 1) + b.pack("IQ", b.U8, 2**62)]), "array elements", S),
    ("ggml-org/llama.cpp#28880", "arrays 3,000 deep, on which gguf-py overflows the stack", (22,),
     nested(3000), "nested deeper", S),
    ("ggml-org/llama.cpp#25378", "10^6 dimensions, which gguf-py reads", (34,),
     tensors(b.tensor(n_dims=10**6), data=bytes(10**5)), "1000000 dimensions", S),
    ("ggml-org/llama.cpp#25378", "dimensions whose product wraps in NumPy", (37,),
     tensors(b.tensor(shape=(4194304, 4194304, 1048577))), "tensor t: data ends at byte", S),
    ("antirez/gguf-tools#25", "nine dimensions where eight have room", (34,),
     tensors(b.tensor(shape=(1,) * 9)), "9 dimensions", S),
    ("huggingface.js#2028", "2^32-1 dimensions, a step of a loop each", (34,),
     tensors(b.tensor(n_dims=2**32 - 1)), "4294967295 dimensions", S),
    ("ml-explore/mlx#4213", "a string and an array longer than the file", (16, 21),
     b.gguf([b.array("a", b.F32, [1.0], 2**20)]), "needs 4194304 bytes", S),
    ("cdxgen/cdxgen#4119", "a value of type 256", (14,),
     b.gguf([b.string("general.name") + b.pack("I", 256) + bytes(8)]), "value type 256", S),
    # vocabularies
    ("ggml-org/llama.cpp#27226", "a byte token <0x-1>: written before the table", (74,),
     byte_tokens("<0x-1>").bytes, "<0x-1>", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#25969", "a byte token <0xZZ>: no number", (74,),
     byte_tokens("<0xZZ>").bytes, "<0xZZ>", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#25969", "a byte token <0x-f>", (74,), byte_tokens("<0x-f>").bytes, "<0x-f>", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#24888", "scores of one byte each, read as four", (24, 70),
     model().with_keys(prefixed({"scores": array(b.U8, [0] * 380)})).bytes, "scores", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#24910", "scores of signed bytes", (24, 70),
     model().with_keys(prefixed({"scores": array(b.I8, [0] * 380)})).bytes, "scores", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#26690", "types of one byte each, and fewer than tokens", (24, 70),
     model().with_keys(prefixed({"token_type": array(b.U8, [1] * 5)})).bytes, "token_type", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#26690", "no vocabulary, and 2^32-1 tokens", (68, 69),
     model().with_keys({"tokenizer.ggml.model": "no_vocab"}, vocab_size=2**32 - 1).bytes, "", Stage.ANY),
    ("ggml-org/llama.cpp#24888", "suppressed tokens of one byte", (24, 72),
     model().with_keys(prefixed({"suppress_tokens": array(b.U8, [1, 2, 255])})).bytes, "", Stage.ANY),
    ("ggml-org/llama.cpp#25258", "a character map of two bytes, of which four are read", (76,),
     vocabulary("t5", precompiled_charsmap=array(b.U8, [1, 2])).bytes, "precompiled_charsmap", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#24888", "a character map that says it is longer", (76,),
     vocabulary("t5", precompiled_charsmap=array(b.U8, list(struct.pack("<I", 2**31) + bytes(8)))).bytes,
     "precompiled_charsmap", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#20735", "scores and types of one token", (70,),
     model().with_keys(prefixed({"scores": [0.0], "token_type": [1]})).bytes, "", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#25508", "one token, and no id of its special ones", (72,), small_vocabulary().bytes, "",
     Stage.ANY),
    ("ggml-org/llama.cpp#25475", "ids of special tokens past the vocabulary", (72,),
     small_vocabulary(eos_token_id=2**32 - 1).bytes, "eos_token_id is 4294967295", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#3634", "an id of the first token that is none", (72,),
     model().with_keys(prefixed({"eos_token_id": 32000})).bytes, "eos_token_id is 32000", Stage.VOCABULARY),
    ("ggml-org/llama.cpp#5112", "a token that is a NUL", (13, 71),
     of_bytes().with_keys(prefixed({"tokens": ["\0", "a"], "token_type": [3, 1], "merges": ["a a"]})).bytes, "",
     Stage.ANY),
    ("CVE-2025-49847", "tokens of 2^20 bytes, longer than the text to which they are copied", (75,),
     small_vocabulary(tokens=["a" * 2**20]).bytes, "", Stage.ANY),
    ("ollama/ollama#4393", "no vocabulary at all", (68,),
     Model({k: v for k, v in model().keys.items() if "tokenizer" not in k}, model().tensors).bytes, "",
     Stage.VOCABULARY),
    # models
    ("ggml-org/llama.cpp#25821", "513 layers where 512 have room", (57,),
     model().with_keys(block_count=513).bytes, "blk.2.", Stage.MODEL),
    ("ggml-org/llama.cpp#11378", "2^20 experts", (65,),
     with_experts(expert_count=2**20).bytes, "expert_count: is 1048576", Stage.MODEL),
    ("sparkinfer#291", "experts of another width than the metadata say", (55, 65),
     with_experts(expert_feed_forward_length=48).bytes, "", Stage.ANY),
    ("sparkinfer#291", "three experts by the metadata, two in the tensors", (55, 65),
     with_experts(expert_count=3).bytes, "ffn_gate_inp.weight", Stage.MODEL),
    ("ggml-org/llama.cpp#29128", "fewer experts in one tensor than in another", (55, 65),
     with_experts().with_tensors(blk__0__ffn_up_exps__weight=Tensor((64, 96, 1))).bytes, "ffn_up_exps", Stage.MODEL),
    ("ggml-org/llama.cpp#4901", "RoPE over fewer elements than a head has", (62,),
     model().with_keys(rope__dimension_count=20).bytes, "", Stage.NEVER),
    ("ggml-org/llama.cpp#6703", "heads of an odd number of elements", (55, 62),
     model().with_keys(attention__value_length=31).bytes, "attn_v.weight", Stage.MODEL),
    ("CVE-2024-34359", "a template that runs a command", (78,), model().with_keys({
        "tokenizer.chat_template":
            "{% for c in [].__class__.__base__.__subclasses__() %}{% if 'warning' in c.__name__ %}"
            "{{ c()._module.__builtins__['__import__']('os').popen('touch pwned').read() }}{% endif %}{% endfor %}"
     }).bytes, "", Stage.ANY),
    ("CVE-2026-5760", "a template that reaches the globals of a function", (78,), model().with_keys({
        "tokenizer.chat_template": "{{ self.__init__.__globals__.__builtins__.__import__('os').system('id') }}"
     }).bytes, "", Stage.ANY),
    ("CVE-2025-27516", "a template that reaches str.format by the filter attr", (78,), model().with_keys({
        "tokenizer.chat_template": "{{ ('{0.__class__.__init__.__globals__}'|attr('format'))(messages) }}"
     }).bytes, "", Stage.ANY),
    ("ggml-org/llama.cpp#24140", "a template that makes a text of 10^9 characters", (78,), model().with_keys({
        "tokenizer.chat_template": "{{ 'x' * 1000000000 }}"}).bytes, "", Stage.ANY),
    ("ggml-org/llama.cpp#24884", "a value that is no number where the tokenizer wants one", (24, 72),
     model().with_keys(prefixed({"bos_token_id": Typed(b.F32, 1.0)})).bytes, "bos_token_id", Stage.VOCABULARY),
]  # fmt: skip


def cases() -> Iterator[Case]:
    for source, what, classes, content, words, stage in PROOFS:
        yield Case(f"{source}: {what}", classes, content, words, stage, source)
