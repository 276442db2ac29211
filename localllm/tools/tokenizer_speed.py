"""How fast a file's tokenizer is, next to a peer's: `python -m localllm.tools.tokenizer_speed MODEL [REPETITIONS]`.

The peer is the `tokenizers` package for byte-level vocabularies, `sentencepiece` for the others, both built from the
same metadata. Each text is 1 MB. Ours and the peer alternate, each time with a tokenizer that has seen nothing, and
the medians are compared. The texts are English (the help of Python's language reference), code (Python's library),
Chinese (common words, drawn as often as words are in real texts) and four runs that hurt careless merging.
"""

from __future__ import annotations

import random
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localllm.errors import UsageError
from localllm.gguf.reader import open_gguf
from localllm.text.pretokenizers import pretokenizer
from localllm.text.sentencepiece_proto import processor
from localllm.text.tokenizer import load_tokenizer
from localllm.text.vocabulary import Vocabulary

N_BYTES = 1_000_000

_CHINESE = (  # the most frequent first
    "的 一 是 在 不 了 有 和 人 这 中 大 为 上 个 国 我 以 要 他 时 来 用 们 生 到 作 地 于 出 就 分 对 成 "
    "会 可 主 发 年 动 同 工 也 能 下 过 子 说 产 种 面 而 方 后 多 定 行 学 法 所 民 得 经 我们 他们 可以 "
    "没有 什么 自己 中国 问题 工作 社会 经济 发展 时间 知道 因为 已经 现在 但是 如果 政府 公司 企业 技术 "
    "研究 科学 教育 文化 世界 国家 市场 系统 管理 信息 数据 语言 模型 计算机 网络 软件 程序 历史 北京 上海 "
    "大学 学生 老师 朋友 孩子 生活 城市 环境 天气 今天 明天 昨天 早上 晚上 开始 结束 进行 通过 根据 由于 "
    "虽然 然而 非常 特别 重要 主要 需要 必须 应该 希望 认为 表示 报道 记者 新闻 电影 音乐 图书 银行 医院 "
    "健康 运动 旅游 飞机 火车 汽车 手机 电脑"
)
_STOPS = "，，，。。！？；：\n"  # noqa: RUF001


def texts() -> dict[str, str]:
    """Name -> text of N_BYTES bytes of UTF-8."""
    from pydoc_data.topics import topics

    folder = Path(sysconfig.get_paths()["stdlib"])
    code = "".join(path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.py")))
    made = {
        "English": "\n\n".join(topics.values()),
        "code": code,
        "Chinese": _chinese(),
        "one letter": "a",
        "spaces": " ",
        "one CJK word": "".join(random.Random(2).choices([chr(0x4E00 + i) for i in range(3000)], k=N_BYTES // 3)),
        "combining marks": "\u0301",
    }
    return {name: _sized(text) for name, text in made.items()}


def _chinese() -> str:
    chance = random.Random(1)
    words = _CHINESE.split()
    weights = [1 / (rank + 2) for rank in range(len(words))]
    out: list[str] = []
    for word in chance.choices(words, weights, k=N_BYTES // 4):
        out += (word, chance.choice(_STOPS)) if chance.random() < 0.1 else (word,)
    return "".join(out)


def _sized(text: str) -> str:
    data = text.encode()
    return (data * (N_BYTES // len(data) + 1))[:N_BYTES].decode("utf-8", "ignore")


def peer(metadata: Mapping[str, Any]) -> tuple[str, Callable[[], Callable[[str], list[int]]]]:
    """The peer's name, and what makes one that has seen no text. UsageError for a vocabulary that no peer knows."""
    model = metadata["tokenizer.ggml.model"]
    if model == "llama":
        vocab = Vocabulary(metadata)
        scores = vocab.scores()
        return "sentencepiece", lambda: processor(vocab, scores).EncodeAsIds
    if model != "gpt2":
        raise UsageError(f"no peer knows the tokenizer model {model!r}; gpt2 and llama can be compared")
    return "tokenizers", lambda: _hugging_face(metadata)


def _hugging_face(metadata: Mapping[str, Any]) -> Callable[[str], list[int]]:
    from tokenizers import Regex, models, pre_tokenizers
    from tokenizers import Tokenizer as Peer

    pre = pretokenizer(metadata.get("tokenizer.ggml.pre"))
    ids = {token: i for i, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    made = Peer(models.BPE(ids, merges, ignore_merges=pre.ignore_merges))
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns]
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([*splits, whole])
    return lambda text: list(made.encode(text, add_special_tokens=False).ids)


@dataclass(frozen=True)
class Row:
    """Median seconds for one text, and whether both gave the same ids."""

    name: str
    ours: float
    theirs: float
    same: bool


def compare(metadata: Mapping[str, Any], repetitions: int) -> tuple[str, list[Row]]:
    """The peer's name and a row a text."""
    name, make = peer(metadata)
    rows = []
    for title, text in texts().items():
        seconds: tuple[list[float], list[float]] = ([], [])
        ids: list[list[int]] = [[], []]
        for _ in range(repetitions):
            ours = load_tokenizer(metadata)
            if ours is None:
                raise UsageError("the file has no vocabulary")
            for side, encode in enumerate((ours.encode, make())):
                encode("warm")
                start = time.perf_counter()
                ids[side] = encode(text)
                seconds[side].append(time.perf_counter() - start)
        rows.append(Row(title, statistics.median(seconds[0]), statistics.median(seconds[1]), ids[0] == ids[1]))
    return name, rows


def table(name: str, rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [f"| 1 MB of | localllm, s | {name}, s | ratio | same ids |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row.theirs / row.ours:.2f}"
        lines.append(f"| {row.name} | {row.ours:.3f} | {row.theirs:.3f} | {ratio} | {'yes' if row.same else 'no'} |")
    return "\n".join(lines)


def main(path: str, repetitions: int = 3) -> None:
    """Print the table for a file."""
    with open_gguf(path) as file:
        metadata = {key: file.metadata[key] for key in file.metadata if key.startswith("tokenizer.")}
    builds = []
    for _ in range(max(3, repetitions)):
        start = time.perf_counter()
        load_tokenizer(metadata)
        builds.append(time.perf_counter() - start)
    print(f"{len(metadata['tokenizer.ggml.tokens'])} tokens, built in {statistics.median(builds):.3f} s\n")
    print(table(*compare(metadata, repetitions)))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
