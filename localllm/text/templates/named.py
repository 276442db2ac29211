"""The templates that have names: those of llama.cpp where it has them (src/llama-chat.cpp), which write the same."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """A chat template in Jinja."""

    source: str
    stop: tuple[str, ...]
    """Texts that end a turn: where a vocabulary has no such token, a model that was trained on another format would
    play the user, too."""
    models: str
    """Whose it is, for the documentation."""


def _text(pattern: str) -> str:
    """A pattern as an expression of Jinja: {content}, {trimmed}, {role}, {ROLE} and {Role} stand for a message's."""
    parts = [
        _FIELDS[part] if part in _FIELDS else json.dumps(part, ensure_ascii=False)
        for part in re.split(r"(\{\w+\})", pattern)
        if part
    ]
    return "{{- " + " ~ ".join(parts) + " -}}"


_FIELDS = {
    "{content}": "message.content",
    "{trimmed}": "message.content | trim",
    "{role}": "message.role",
    "{ROLE}": "message.role | upper",
    "{Role}": "message.role | capitalize",
    "{bos}": "('' if loop.first else '<s>')",
}


def _turns(begin: str, any: str = "", head: str = "", **roles: str) -> str:
    """A template that writes `head`, each message by its role (`any`: of all others), and `begin` for the answer."""
    lines = [_text(head)] if head else []
    lines.append("{%- for message in messages -%}")
    word = "if"
    for role, pattern in roles.items():
        lines += [f"{{%- {word} message.role == '{role}' -%}}", _text(pattern)]
        word = "elif"
    if any:
        lines += ["{%- else -%}"] if roles else []
        lines.append(_text(any))
    lines += ["{%- endif -%}"] if roles else []
    lines.append("{%- endfor -%}")
    if begin:
        lines += ["{%- if add_generation_prompt -%}", _text(begin), "{%- endif -%}"]
    return "\n".join(lines)


def _with_system(begin: str, user: str, assistant: str, gap: str = "\n\n", trim: bool = False) -> str:
    """Turns of user and assistant, where the system's text heads the user's next turn, or stands in an empty one at the
    end; {system} stands for it."""
    system = "message.content | trim" if trim else "message.content"
    before, after = user.split("{system}")
    return "\n".join(
        [
            "{%- set ns = namespace(system='') -%}",
            "{%- set end = [{'role': 'user', 'content': ''}] if messages and messages[-1].role == 'system' else [] -%}",
            "{%- for message in messages + end -%}",
            "{%- if message.role == 'system' -%}",
            f"{{%- set ns.system = ns.system ~ ({system}) -%}}",
            "{%- elif message.role == 'assistant' -%}",
            _text(assistant),
            "{%- else -%}",
            _text(before),
            f"{{{{- ns.system ~ {json.dumps(gap)} if ns.system else '' -}}}}",
            "{%- set ns.system = '' -%}",
            _text(after),
            "{%- endif -%}",
            "{%- endfor -%}",
            *(["{%- if add_generation_prompt -%}", _text(begin), "{%- endif -%}"] if begin else []),
        ]
    )


def _inside(
    opening: str, system: str, user: str, assistant: str, again: str | None = None, first_is_open: bool = False
) -> str:
    """Turns of Mistral and Llama 2: what is said to the model stands between marks, its answers outside of them.

    again: the opening of later turns, where it is another. first_is_open: the first stands there without a message.
    """
    later = opening if again is None else again
    return "\n".join(
        [
            *([_text(opening)] if first_is_open else []),
            f"{{%- set ns = namespace(open={str(first_is_open).lower()}) -%}}",
            "{%- for message in messages -%}",
            "{%- if not ns.open -%}",
            "{%- set ns.open = true -%}",
            _text(later),
            "{%- endif -%}",
            "{%- if message.role == 'system' -%}",
            _text(system),
            "{%- elif message.role == 'user' -%}",
            _text(user),
            "{%- else -%}",
            "{%- set ns.open = false -%}",
            _text(assistant),
            "{%- endif -%}",
            "{%- endfor -%}",
        ]
    )


_SYS = "<<SYS>>\n{content}\n<</SYS>>\n\n"
_SYS_TRIMMED = _SYS.replace("content", "trimmed")
_EXAONE = {
    "system": "[|system|]{trimmed}[|endofturn|]\n",
    "user": "[|user|]{trimmed}\n",
    "assistant": "[|assistant|]{trimmed}[|endofturn|]\n",
}
_GRANITE = _turns(
    "<|start_of_role|>assistant<|end_of_role|>", "<|start_of_role|>{role}<|end_of_role|>{content}<|end_of_text|>\n"
)
_BAILING = {"user": "<role>HUMAN</role>{content}", "any": "<role>{ROLE}</role>{content}"}
_NEXT = "\n\n"

TEMPLATES: dict[str, Named] = {
    "chatml": Named(
        _turns("<|im_start|>assistant\n", "<|im_start|>{role}\n{content}<|im_end|>\n"),
        ("<|im_end|>",), "Qwen 1 to 3, SmolLM, Yi, Hermes, and many others"),
    "llama3": Named(
        _turns("<|start_header_id|>assistant<|end_header_id|>\n\n",
               "<|start_header_id|>{role}<|end_header_id|>\n\n{trimmed}<|eot_id|>"),
        ("<|eot_id|>",), "Llama 3, 3.1, 3.2, 3.3"),
    "llama4": Named(
        _turns("<|header_start|>assistant<|header_end|>\n\n",
               "<|header_start|>{role}<|header_end|>\n\n{trimmed}<|eot|>"),
        ("<|eot|>",), "Llama 4"),
    "gemma": Named(
        _with_system("<start_of_turn>model\n", "<start_of_turn>{role}\n{system}{trimmed}<end_of_turn>\n",
                     "<start_of_turn>model\n{trimmed}<end_of_turn>\n", trim=True),
        ("<end_of_turn>",), "Gemma 1, 2 and 3"),
    "gemma4": Named(
        _turns("<|turn>model\n", "<|turn>{role}\n{trimmed}<turn|>\n", assistant="<|turn>model\n{trimmed}<turn|>\n"),
        ("<turn|>",), "Gemma 4"),
    "mistral-v1": Named(
        _inside(" [INST] ", "{content}\n\n", "{content} [/INST]", " {content}</s>"),
        ("</s>",), "Mistral 7B v0.1 and v0.2, Mixtral 8x7B"),
    "mistral-v3": Named(
        _inside("[INST] ", "{content}\n\n", "{content}[/INST]", " {trimmed}</s>"),
        ("</s>",), "Mistral 7B v0.3, Mixtral 8x22B"),
    "mistral-v3-tekken": Named(
        _inside("[INST]", "{content}\n\n", "{content}[/INST]", "{content}</s>"),
        ("</s>",), "Mistral Nemo, Ministral 8B"),
    "mistral-v7": Named(
        _turns("", " {content}</s>", system="[SYSTEM_PROMPT] {content}[/SYSTEM_PROMPT]",
               user="[INST] {content}[/INST]"),
        ("</s>",), "Mistral Large 2411"),
    "mistral-v7-tekken": Named(
        _turns("", "{content}</s>", system="[SYSTEM_PROMPT]{content}[/SYSTEM_PROMPT]", user="[INST]{content}[/INST]"),
        ("</s>",), "Mistral Small 3.1 and later"),
    "llama2": Named(
        _inside("[INST] ", "{content}\n", "{content} [/INST]", "{content}</s>", first_is_open=True),
        ("</s>",), "Llama 2 without a system message"),
    "llama2-sys": Named(
        _inside("[INST] ", _SYS, "{content} [/INST]", "{content}</s>", first_is_open=True),
        ("</s>",), "Llama 2"),
    "llama2-sys-bos": Named(
        _inside("[INST] ", _SYS, "{content} [/INST]", "{content}</s>", "<s>[INST] ", first_is_open=True),
        ("</s>",), "Llama 2, each turn with <s>"),
    "llama2-sys-strip": Named(
        _inside("[INST] ", _SYS_TRIMMED, "{trimmed} [/INST]", "{trimmed}</s>", first_is_open=True),
        ("</s>",), "Llama 2, texts trimmed"),
    "phi3": Named(
        _turns("<|assistant|>\n", "<|{role}|>\n{content}<|end|>\n"), ("<|end|>",), "Phi-3, Phi-3.5"),
    "phi4": Named(
        _turns("<|im_start|>assistant<|im_sep|>", "<|im_start|>{role}<|im_sep|>{content}<|im_end|>"),
        ("<|im_end|>",), "Phi-4"),
    "falcon3": Named(
        _turns("<|assistant|>\n", "<|{role}|>\n{content}\n"), ("<|user|>",), "Falcon 3"),
    "zephyr": Named(
        _turns("<|assistant|>\n", "<|{role}|>\n{content}<|endoftext|>\n"), ("<|endoftext|>",), "StableLM Zephyr"),
    "monarch": Named(
        _turns("<s>assistant\n", "{bos}{role}\n{content}</s>\n"), ("</s>",), "AlphaMonarch"),
    "orion": Named(
        _with_system("", "Human: {system}{content}\n\nAssistant: </s>", "{content}</s>"), ("</s>",), "Orion 14B"),
    "openchat": Named(
        _turns("GPT4 Correct Assistant:", "GPT4 Correct {Role}: {content}<|end_of_turn|>",
               system="{content}<|end_of_turn|>"),
        ("<|end_of_turn|>",), "OpenChat 3.5"),
    "vicuna": Named(
        _turns("ASSISTANT:", system="{content}\n\n", user="USER: {content}\n", assistant="ASSISTANT: {content}</s>\n"),
        ("</s>", "\nUSER:"), "Vicuna 1.1 and 1.5, WizardLM"),
    "vicuna-orca": Named(
        _turns("ASSISTANT:", system="SYSTEM: {content}\n", user="USER: {content}\n",
               assistant="ASSISTANT: {content}</s>\n"),
        ("</s>", "\nUSER:"), "Orca-Vicuna"),
    "alpaca": Named(
        _turns("### Response:\n", system="{content}\n\n", user="### Instruction:\n{content}\n\n",
               assistant="### Response:\n{content}\n\n"),
        ("\n### Instruction:",), "Alpaca, and many older models"),
    "deepseek": Named(
        _turns("### Response:\n", system="{content}", user="### Instruction:\n{content}\n",
               assistant="### Response:\n{content}\n<|EOT|>\n"),
        ("<|EOT|>",), "DeepSeek Coder"),
    "deepseek2": Named(
        _turns("Assistant:", system="{content}\n\n", user="User: {content}\n\n",
               assistant="Assistant: {content}<｜end▁of▁sentence｜>"),
        ("<｜end▁of▁sentence｜>", "\nUser:"), "DeepSeek V2 and its Lite"),
    "deepseek3": Named(
        _turns("<｜Assistant｜>", system="{content}\n\n", user="<｜User｜>{content}",
               assistant="<｜Assistant｜>{content}<｜end▁of▁sentence｜>"),
        ("<｜end▁of▁sentence｜>",), "DeepSeek V3, R1 and its distillations"),
    "deepseek-ocr": Named(_turns("", "{content}"), (), "DeepSeek OCR: the texts alone"),
    "command-r": Named(
        _turns("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
               **{role: f"<|START_OF_TURN_TOKEN|><|{token}_TOKEN|>{{trimmed}}<|END_OF_TURN_TOKEN|>"
                  for role, token in (("system", "SYSTEM"), ("user", "USER"), ("assistant", "CHATBOT"))}),
        ("<|END_OF_TURN_TOKEN|>",), "Command R, Command R+, Aya"),
    "chatglm3": Named(
        _turns("<|assistant|>", "<|{role}|>\n {content}", head="[gMASK]sop"), ("<|user|>",), "ChatGLM 3"),
    "chatglm4": Named(
        _turns("<|assistant|>\n", "<|{role}|>\n{content}", head="[gMASK]<sop>"),
        ("<|user|>", "<|observation|>"), "GLM 4"),
    "glmedge": Named(
        _turns("<|assistant|>", "<|{role}|>\n{content}"), ("<|user|>",), "GLM-Edge"),
    "minicpm": Named(
        _turns("", "{trimmed}", user="<用户>{trimmed}<AI>"), ("<用户>",), "MiniCPM 1 and 2"),
    "exaone3": Named(_turns("[|assistant|]", **_EXAONE), ("[|endofturn|]",), "EXAONE 3 and 3.5"),
    "exaone4": Named(
        _turns("[|assistant|]", **_EXAONE, tool="[|tool|]{trimmed}[|endofturn|]\n"), ("[|endofturn|]",), "EXAONE 4"),
    "exaone-moe": Named(
        _turns("<|assistant|>\n", **{role: f"<|{role}|>\n{{trimmed}}<|endofturn|>\n"
                                     for role in ("system", "user", "assistant", "tool")}),
        ("<|endofturn|>",), "K-EXAONE"),
    "rwkv-world": Named(
        _turns("Assistant:", **{role: f"{role.capitalize()}: {{trimmed}}\n\n"
                                for role in ("system", "user", "assistant")}),
        ("\n\nUser:",), "RWKV World"),
    "granite": Named(_GRANITE, ("<|end_of_text|>",), "Granite 3"),
    "granite-4.0": Named(_GRANITE, ("<|end_of_text|>",), "Granite 4.0"),
    "granite-4.1": Named(_GRANITE, ("<|end_of_text|>",), "Granite 4.1"),
    "gigachat": Named(
        _turns("assistant<|role_sep|>", head="<s>", user="user<|role_sep|>{content}<|message_sep|>"
                 "available functions<|role_sep|>[]<|message_sep|>",
                 assistant="assistant<|role_sep|>{content}<|message_sep|>", system="{content}<|message_sep|>"),
        ("<|message_sep|>",), "GigaChat 20B"),
    "megrez": Named(
        _turns("<|role_start|>assistant<|role_end|>", "<|role_start|>{role}<|role_end|>{content}<|turn_end|>"),
        ("<|turn_end|>",), "Megrez"),
    "yandex": Named(
        _with_system(" Ассистент:[SEP]", " Пользователь: {system}{content}\n\n", " Ассистент: {content}\n\n"),
        ("\n\n Пользователь:",), "YandexGPT 5 Lite"),
    "bailing": Named(_turns("<role>ASSISTANT</role>", **_BAILING), ("<role>",), "Ling 1"),
    "bailing-think": Named(_turns("<role>ASSISTANT</role><think>", **_BAILING), ("<role>",), "Ring 1"),
    "bailing2": Named(
        "{%- if not messages or messages[0].role != 'system' -%}\n"
        + _text("<role>SYSTEM</role>detailed thinking off<|role_end|>") + "\n{%- endif -%}\n"
        + _turns("<role>ASSISTANT</role>", **{key: f"{text}<|role_end|>" for key, text in _BAILING.items()}),
        ("<|role_end|>",), "Ling 2 and Ring 2"),
    "smolvlm": Named(
        _turns("Assistant:", "Assistant: {content}<end_of_utterance>\n", head="<|im_start|>", system="{content}\n\n",
               user="User: {content}<end_of_utterance>\n"),
        ("<end_of_utterance>",), "SmolVLM"),
    "dots1": Named(
        _turns("<|response|>", "<|response|>{content}<|endofresponse|>",
               system="<|system|>{content}<|endofsystem|>", user="<|userprompt|>{content}<|endofuserprompt|>"),
        ("<|endofresponse|>",), "dots.llm1"),
    "hunyuan-moe": Named(
        _turns("", "<|startoftext|>{content}<|extra_0|>", system="<|startoftext|>{content}<|extra_4|>",
               assistant="{content}<|eos|>"),
        ("<|eos|>",), "Hunyuan A13B"),
    "hunyuan-dense": Named(
        _turns("", system="{content}<｜hy_place▁holder▁no▁3｜>", user="<｜hy_User｜>{content}<｜hy_Assistant｜>",
               assistant="<｜hy_Assistant｜>{content}<｜hy_place▁holder▁no▁2｜>"),
        ("<｜hy_place▁holder▁no▁2｜>",), "Hunyuan 0.5B to 7B"),
    "hunyuan-vl": Named(
        _turns("", head="<｜hy_begin▁of▁sentence｜>", system="{content}<｜hy_place▁holder▁no▁3｜>",
               user="{content}<｜hy_User｜>", assistant="{content}<｜hy_Assistant｜>"),
        ("<｜hy_Assistant｜>",), "HunyuanOCR"),
    "gpt-oss": Named(
        _turns("<|start|>assistant", "<|start|>{role}<|message|>{content}<|end|>",
               assistant="<|start|>assistant<|message|>{content}<|return|>"),
        ("<|return|>",), "gpt-oss"),
    "kimi-k2": Named(
        _turns("<|im_assistant|>assistant<|im_middle|>", system="<|im_system|>system<|im_middle|>{content}<|im_end|>",
               user="<|im_user|>user<|im_middle|>{content}<|im_end|>",
               assistant="<|im_assistant|>assistant<|im_middle|>{content}<|im_end|>",
               tool="<|im_system|>tool<|im_middle|>{content}<|im_end|>"),
        ("<|im_end|>",), "Kimi K2"),
    "seed_oss": Named(
        _turns("<seed:bos>assistant\n", "<seed:bos>{role}\n{content}<seed:eos>",
               assistant="<seed:bos>assistant\n{trimmed}<seed:eos>"),
        ("<seed:eos>",), "Seed-OSS"),
    "grok-2": Named(
        _turns("Assistant:", system="System: {trimmed}<|separator|>\n\n", user="Human: {trimmed}<|separator|>\n\n",
               assistant="Assistant: {content}<|separator|>\n\n"),
        ("<|separator|>",), "Grok 2"),
    "pangu-embedded": Named(
        "{%- if not messages or messages[0].role != 'system' -%}\n" + _text("[unused9]系统：[unused10]")
        + "\n{%- endif -%}\n"
        + _turns("[unused9]助手：", **{role: f"[unused9]{word}：{{content}}[unused10]" for role, word in (
            ("system", "系统"), ("user", "用户"), ("assistant", "助手"), ("tool", "工具"), ("function", "方法"))}),
        ("[unused10]",), "openPangu Embedded"),
    "solar-open": Named(
        _turns("<|begin|>assistant", "<|begin|>{role}<|content|>{content}<|end|>"), ("<|end|>",), "Solar Open"),
}  # fmt: skip
"""Name -> template."""
