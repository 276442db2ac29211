"""Pre-tokenizers: how byte-level BPE cuts a text into words before it merges. A row of `PRETOKENIZERS` for each that
hub files name.

The patterns are those of llama.cpp (`llm_tokenizer_bpe`, src/llama-vocab.cpp) for the `regex` package. Each pattern of
a row runs over every piece that the ones before it left; its matches and the gaps between them become pieces; it sees
nothing outside its piece. What std::regex does with its collapsed code points is written out: `\\s` matches Unicode's
white space and is in no other class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PreTokenizer:
    """One way to cut words."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    """A word that is a token as it stands is that token, whatever the merges say."""
    add_bos: bool = False
    """Begin with BOS unless the file says otherwise."""
    drop_gaps: bool = False
    """What lies between matches is dropped, not a word of its own."""
    characters: bool = False
    """Tokens are text as it is and <0xXX> for bytes, as in SentencePiece, not GPT-2's byte alphabet."""
    spaces_as_blocks: bool = False
    """U+2581 stands for spaces. With `characters`."""
    whole_newlines: bool = False
    """Line feeds that are a token together are that token: Gemma 4's merges do not reach those."""


_CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SYMBOLS_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_LLAMA3 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}"
_QWEN2 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_SYMBOLS}|{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Letters that are not a-z, then letters that are not A-Z: upper case, then lower, for ASCII; any letters beyond it
_CAMEL = r"[^\r\n\p{L}\p{N}]?(?:[^\P{L}a-z]*[^\P{L}A-Z]+%s|[^\P{L}a-z]+[^\P{L}A-Z]*%s)"
_GPT4O = rf"{_CAMEL % (_CONTRACTION + '?', _CONTRACTION + '?')}|\p{{N}}{{1,3}}|{_SYMBOLS_SLASH}|{_SPACES}"
_TEKKEN = rf"{_CAMEL % ('', '')}|\p{{N}}|{_SYMBOLS_SLASH}|{_SPACES}"
_HAN_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Everything from U+0800 up to Hangul, white space excepted
_EAST = r"(?:(?!\s)[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff])+"
# The cased letters that DeepSeek's first tokenizer lists one by one
_CASED = (
    r"A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    r"\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    r"\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    r"\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b"
    r"\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    r"\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    r"\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    r"\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    r"\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    r"\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    r"\U0001e900-\U0001e943"
)

_DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"))
_PLAIN = PreTokenizer((_GPT2,))
_DIGITS = PreTokenizer((r"\p{N}", _GPT2))
_LLAMA_BPE = PreTokenizer((_LLAMA3,), ignore_merges=True, add_bos=True)
_LIKE_QWEN2 = PreTokenizer((_QWEN2,))
_O200K = PreTokenizer((_GPT4O,))
_DEEPSEEK_V3 = PreTokenizer((r"\p{N}{1,3}", _HAN_KANA, _DEEPSEEK3))
_WORDS_BY_PUNCTUATION = r" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_BAILING = PreTokenizer(
    (rf"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|{_WORD}|\p{{N}}|{_SYMBOLS}|\s*[\r\n]|\s+(?!\S)|\s+",)
)
_SARVAM = PreTokenizer((r"[^\n]+|\n+",), characters=True, spaces_as_blocks=True)
_GEMMA4 = replace(_SARVAM, whole_newlines=True)  # https://github.com/ggml-org/llama.cpp/pull/21343
_JAIS2_SPACES = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s"

_LETTERS = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
_YOUTU_EAST = (
    r"[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f"
    r"\ufe30-\ufe4f]+|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
)
_AFMOE_EAST = (
    r"[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"
    r"\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
# Groups of three digits from the right: 1 234 567. They stand alone, as tokenizer.json files say; llama.cpp glues the
# text before them to the first group.
_THREES = r"(?r)\p{N}{1,3}"
_UPPER, _LOWER = r"(?:(?=[\p{L}\p{M}])[^a-z])", r"(?:(?=[\p{L}\p{M}])[^A-Z])"
_GRANITE = "|".join(
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}{upper}{_LOWER}{lower}{_CONTRACTION}?" for upper, lower in (("*", "+"), ("+", "*"))
)
_EXAONE_MOE = r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
_HAN = (
    r"\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    r"\U0002b820-\U0002ceaf\U0002ceb0-\U0002ebef\U0002f800-\U0002fa1f\uf900-\ufaff"
)
_OTHER_LETTER = rf"(?:(?![{_HAN}])\p{{L}})"
_KIMI_K2 = (
    rf"[{_HAN}]+|[^\r\n\p{{L}}\p{{N}}]?{_OTHER_LETTER}+{_CONTRACTION}?|\p{{N}}{{1,3}}|"
    rf"(?: ?[^\s\p{{L}}\p{{N}}]+[\r\n]*)|{_SPACES}"
)
_SPARK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|"
    r"[\r\n]|\s+(?!\S)|\s+"
)

PRETOKENIZERS: dict[str, PreTokenizer] = {
    "default": _DEFAULT,
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        _LLAMA_BPE,
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), PreTokenizer((_LLAMA3,))),
    **dict.fromkeys(("glm4", "glm5"), PreTokenizer((_LLAMA3,), ignore_merges=True)),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"),
        _LIKE_QWEN2,
    ),
    "qwen35": PreTokenizer((_QWEN35,)),
    **dict.fromkeys(
        (
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
        ),
        _PLAIN,
    ),
    **dict.fromkeys(("mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"), _PLAIN),
    **dict.fromkeys(("jina-v1-en", "jina-v2-code", "roberta-bpe"), _PLAIN),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"), _DIGITS
    ),
    "falcon": PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]")),
    "deepseek-llm": PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?[{_CASED}]+",
            r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3001-\u3002]+",
            r"(?<!\s)\s++\Z",  # \s+\Z, without a second look at white space that ends nothing
            _EAST,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _EAST, r"\p{N}")),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _DEEPSEEK_V3),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _O200K),
    "tekken": PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True),
    **dict.fromkeys(("poro-chat", "bloom", "gpt3-finnish"), PreTokenizer((_WORDS_BY_PUNCTUATION,))),
    "viking": PreTokenizer((_WORDS_BY_PUNCTUATION, r"\p{N}")),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING),
    "seed-coder": PreTokenizer((rf"{_CONTRACTION}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",)),
    "superbpe": PreTokenizer((r"\p{N}+", r"(?r)[0-9]{3}")),
    "minicpm5": PreTokenizer(
        (r"\p{N}{1,3}", rf"{_CONTRACTION}|{_WORD}|\p{{N}}+|{_SYMBOLS}|{_SPACES}"), ignore_merges=True
    ),
    "jais-2": PreTokenizer((rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_SYMBOLS}|\s*[\r\n]+|{_JAIS2_SPACES}",)),
    "youtu": PreTokenizer(
        (_YOUTU_EAST, rf"{_LETTERS}{_CONTRACTION}?|\p{{N}}|{_SYMBOLS_SLASH}|{_SPACES}"), ignore_merges=True
    ),
    **dict.fromkeys(
        ("tiny_aya", "cohere2moe"),
        PreTokenizer((_THREES, rf"{_LETTERS}{_CONTRACTION}?|\p{{N}}{{1,3}}|{_SYMBOLS_SLASH}|{_SPACES}")),
    ),
    "afmoe": PreTokenizer((_THREES, _AFMOE_EAST, _DEEPSEEK3)),
    "granite-embed-multi-97m": PreTokenizer(
        (rf"{_GRANITE}|\p{{N}}{{1,3}}|{_SYMBOLS_SLASH}|{_SPACES}",), ignore_merges=True
    ),
    "exaone-moe": PreTokenizer((rf"{_CONTRACTION}|{_EXAONE_MOE}|\s*[\r\n]|\s+(?!\S)|\s+",)),
    "spark2_5": PreTokenizer((r"\p{N}{1,3}", _HAN_KANA, _SPARK, r"\p{N}")),
    "kimi-k2": PreTokenizer((_KIMI_K2,)),
    "chameleon": PreTokenizer(
        (
            r"<sentinel:[0-9]+>",
            r"IMGIMG[A-I]{1,4}Z",
            r"[\t\n]|    |  ",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2,
        ),
        add_bos=True,
    ),
    "ufakzeka": PreTokenizer((rf"{_WORD}|\p{{N}}|{_SYMBOLS}|{_SPACES}",)),
    "laguna": PreTokenizer((r"[^\n]+|\n+", _QWEN2)),
    **dict.fromkeys(("gemma4", "granite-embed-multi-311m"), _GEMMA4),
    "sarvam-moe": _SARVAM,
    "whitespace": PreTokenizer((r"\S+",), drop_gaps=True, characters=True),
}


def pretokenizer(name: str | None, path: str = "") -> PreTokenizer:
    """The row called `name`; an unknown or missing name gives `default` and a warning that says so."""
    if name in PRETOKENIZERS:
        return PRETOKENIZERS[name]
    what = (
        "names no pre-tokenizer" if name is None else f"names the pre-tokenizer {name!r:.60}, which is not known here"
    )
    import logging

    logging.getLogger("localllm").warning(
        "%sthe vocabulary %s; 'default' is used, and rare texts may be cut differently",
        f"{path}: " if path else "",
        what,
    )
    return _DEFAULT
