"""The chat templates of tests/text/templates: whose they are, and where they were taken from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Source:
    """A package on PyPI, and where in it the templates stand."""

    package: str
    where: str
    repository: str
    licence: str


@dataclass(frozen=True)
class Kept:
    """The template of a model; `path` is a file's name in its source, or the name of a constant."""

    model: str
    source: str
    path: str


SOURCES = {
    "llama.cpp": Source("llama-cpp-python 0.3.36", "vendor/llama.cpp/models/templates", "ggml-org/llama.cpp", "MIT"),
    "trl": Source("trl 1.16.0", "trl/chat_templates", "huggingface/trl", "Apache-2.0"),
    "axolotl": Source(
        "axolotl 0.19.0", "src/axolotl/utils/chat_templates/templates", "axolotl-ai-cloud/axolotl", "Apache-2.0"
    ),
    "vllm": Source("vllm 0.33.0 (its sdist)", "examples", "vllm-project/vllm", "Apache-2.0"),
    "unsloth": Source("unsloth 2026.10.9", "unsloth/chat_templates.py", "unslothai/unsloth", "Apache-2.0"),
    "guidance": Source("guidance 0.3.1", "guidance/chat.py", "guidance-ai/guidance", "MIT"),
}
"""Their templates are those of the models, or what these projects use for them."""

TEMPLATES = {
    "01-ai-Yi-1.5-9B-Chat": Kept("01-ai/Yi-1.5-9B-Chat", "unsloth", "yi_chat_template"),
    "ai21labs-AI21-Jamba-1.5-Mini": Kept("ai21labs/AI21-Jamba-1.5-Mini", "axolotl", "jamba.jinja"),
    "Apertus-8B-Instruct": Kept("swiss-ai/Apertus-8B-Instruct-2509", "llama.cpp", "Apertus-8B-Instruct.jinja"),
    "Apriel-1.6-15b-Thinker-fixed": Kept(
        "ServiceNow-AI/Apriel-1.6-15b-Thinker", "llama.cpp", "Apriel-1.6-15b-Thinker-fixed.jinja"
    ),
    "berkeley-nest-Starling-LM-7B-beta": Kept("berkeley-nest/Starling-LM-7B-beta", "unsloth", "starling_template"),
    "Bielik-11B-v3.0-Instruct": Kept(
        "speakleash/Bielik-11B-v3.0-Instruct", "llama.cpp", "Bielik-11B-v3.0-Instruct.jinja"
    ),
    "ByteDance-Seed-OSS": Kept("ByteDance-Seed/Seed-OSS-36B-Instruct", "llama.cpp", "ByteDance-Seed-OSS.jinja"),
    "CofeAI-Tele-FLM": Kept("CofeAI/Tele-FLM", "vllm", "template_teleflm.jinja"),
    "Cohere2MoE": Kept("CohereLabs, Cohere2 MoE", "llama.cpp", "Cohere2MoE.jinja"),
    "CohereForAI-c4ai-command-r-plus-tool_use": Kept(
        "CohereForAI/c4ai-command-r-plus", "llama.cpp", "CohereForAI-c4ai-command-r-plus-tool_use.jinja"
    ),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": Kept(
        "CohereForAI/c4ai-command-r7b-12-2024", "llama.cpp", "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja"
    ),
    "CohereLabs-aya-expanse-8b": Kept("CohereLabs/aya-expanse-8b", "trl", "cohere.jinja"),
    "CohereLabs-c4ai-command-a-03-2025": Kept("CohereLabs/c4ai-command-a-03-2025", "axolotl", "command_a.jinja"),
    "CohereLabs-tiny-aya-earth": Kept("CohereLabs/tiny-aya-earth", "trl", "cohere2.jinja"),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": Kept(
        "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama.cpp", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja"
    ),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": Kept(
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "llama.cpp", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja"
    ),
    "deepseek-ai-DeepSeek-V2.5": Kept("deepseek-ai/DeepSeek-V2.5", "axolotl", "deepseek_v2.jinja"),
    "deepseek-ai-DeepSeek-V3": Kept("deepseek-ai/DeepSeek-V3", "trl", "deepseekv3.jinja"),
    "deepseek-ai-DeepSeek-V3.1": Kept("deepseek-ai/DeepSeek-V3.1", "llama.cpp", "deepseek-ai-DeepSeek-V3.1.jinja"),
    "deepseek-ai-DeepSeek-V3.2": Kept("deepseek-ai/DeepSeek-V3.2", "llama.cpp", "deepseek-ai-DeepSeek-V3.2.jinja"),
    "deepseek-ai-DeepSeek-V4": Kept("deepseek-ai/DeepSeek-V4", "llama.cpp", "deepseek-ai-DeepSeek-V4.jinja"),
    "deepseek-ai-DeepSeek-V4-Flash-0731": Kept(
        "deepseek-ai/DeepSeek-V4-Flash-0731", "llama.cpp", "deepseek-ai-DeepSeek-V4-Flash-0731.jinja"
    ),
    "fireworks-ai-llama-3-firefunction-v2": Kept(
        "fireworks-ai/llama-3-firefunction-v2", "llama.cpp", "fireworks-ai-llama-3-firefunction-v2.jinja"
    ),
    "GigaChat3-10B-A1.8B": Kept("ai-sage/GigaChat3-10B-A1.8B", "llama.cpp", "GigaChat3-10B-A1.8B.jinja"),
    "GigaChat3.1-10B-A1.8B": Kept("ai-sage/GigaChat3.1-10B-A1.8B", "llama.cpp", "GigaChat3.1-10B-A1.8B.jinja"),
    "GLM-4.6": Kept("zai-org/GLM-4.6", "llama.cpp", "GLM-4.6.jinja"),
    "GLM-4.7-Flash": Kept("zai-org/GLM-4.7-Flash", "llama.cpp", "GLM-4.7-Flash.jinja"),
    "google-functiongemma-270m-it": Kept(
        "google/functiongemma-270m-it", "vllm", "tool_chat_template_functiongemma.jinja"
    ),
    "google-gemma-2-2b-it": Kept("google/gemma-2-2b-it", "llama.cpp", "google-gemma-2-2b-it.jinja"),
    "google-gemma-3-4b-it": Kept("google/gemma-3-4b-it", "trl", "gemma3.jinja"),
    "google-gemma-3n-E4B-it": Kept("google/gemma-3n-E4B-it", "axolotl", "gemma3n.jinja"),
    "google-gemma-4-31B-it": Kept("google/gemma-4-31B-it", "llama.cpp", "google-gemma-4-31B-it.jinja"),
    "google-gemma-4-E2B-it": Kept("google/gemma-4-E2B-it", "trl", "gemma4_v5.jinja"),
    "HuggingFaceH4-zephyr-7b-beta": Kept("HuggingFaceH4/zephyr-7b-beta", "unsloth", "zephyr_template"),
    "HuggingFaceTB-SmolLM3-3B": Kept("HuggingFaceTB/SmolLM3-3B", "llama.cpp", "HuggingFaceTB-SmolLM3-3B.jinja"),
    "ibm-granite-granite-20b-functioncalling": Kept(
        "ibm-granite/granite-20b-functioncalling", "vllm", "tool_chat_template_granite_20b_fc.jinja"
    ),
    "ibm-granite-granite-3.0-8b-instruct": Kept(
        "ibm-granite/granite-3.0-8b-instruct", "vllm", "tool_chat_template_granite.jinja"
    ),
    "ibm-granite-granite-3.3-2B-Instruct": Kept(
        "ibm-granite/granite-3.3-2b-instruct", "llama.cpp", "ibm-granite-granite-3.3-2B-Instruct.jinja"
    ),
    "ibm-granite-granite-4.0": Kept("ibm-granite/granite-4.0-h-small", "llama.cpp", "ibm-granite-granite-4.0.jinja"),
    "ibm-granite-granite-4.1": Kept("ibm-granite/granite-4.1-8b", "llama.cpp", "ibm-granite-granite-4.1.jinja"),
    "inclusionai-ling-3.0-flash": Kept("inclusionAI/Ling-3.0-flash", "llama.cpp", "inclusionai-ling-3.0-flash.jinja"),
    "internlm-internlm2_5-7b-chat": Kept(
        "internlm/internlm2_5-7b-chat", "vllm", "tool_chat_template_internlm2_tool.jinja"
    ),
    "Kimi-K2-Instruct": Kept("moonshotai/Kimi-K2-Instruct-0905", "llama.cpp", "Kimi-K2-Instruct.jinja"),
    "Kimi-K2-Thinking": Kept("moonshotai/Kimi-K2-Thinking", "llama.cpp", "Kimi-K2-Thinking.jinja"),
    "Kimi-K3": Kept("moonshotai/Kimi-K3", "llama.cpp", "Kimi-K3.jinja"),
    "LFM2-8B-A1B": Kept("LiquidAI/LFM2-8B-A1B", "llama.cpp", "LFM2-8B-A1B.jinja"),
    "LFM2.5-8B-A1B": Kept("LiquidAI/LFM2.5-8B-A1B", "llama.cpp", "LFM2.5-8B-A1B.jinja"),
    "LFM2.5-Instruct": Kept("LiquidAI/LFM2.5-1.2B-Instruct", "llama.cpp", "LFM2.5-Instruct.jinja"),
    "LGAI-EXAONE-EXAONE-3.5-7.8B-Instruct": Kept("LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", "axolotl", "exaone.jinja"),
    "LGAI-EXAONE-EXAONE-4.0-1.2B": Kept("LGAI-EXAONE/EXAONE-4.0-1.2B", "axolotl", "exaone4.jinja"),
    "LiquidAI-LFM2-1.2B": Kept("LiquidAI/LFM2-1.2B", "trl", "lfm2_v2.jinja"),
    "LiquidAI-LFM2.5-230M": Kept("LiquidAI/LFM2.5-230M", "trl", "lfm2_2_5_v2.jinja"),
    "llama-cpp-deepseek-r1": Kept("deepseek-ai/DeepSeek-R1", "llama.cpp", "llama-cpp-deepseek-r1.jinja"),
    "llama-cpp-rwkv-world": Kept("BlinkDL/rwkv-6-world", "llama.cpp", "llama-cpp-rwkv-world.jinja"),
    "meetkai-functionary-medium-v3.1": Kept(
        "meetkai/functionary-medium-v3.1", "llama.cpp", "meetkai-functionary-medium-v3.1.jinja"
    ),
    "meetkai-functionary-medium-v3.2": Kept(
        "meetkai/functionary-medium-v3.2", "llama.cpp", "meetkai-functionary-medium-v3.2.jinja"
    ),
    "meta-llama-Llama-2-7b-chat-hf": Kept("meta-llama/Llama-2-7b-chat-hf", "guidance", "llama2_template"),
    "meta-llama-Llama-3.1-8B-Instruct": Kept(
        "meta-llama/Llama-3.1-8B-Instruct", "llama.cpp", "meta-llama-Llama-3.1-8B-Instruct.jinja"
    ),
    "meta-llama-Llama-3.2-3B-Instruct": Kept(
        "meta-llama/Llama-3.2-3B-Instruct", "llama.cpp", "meta-llama-Llama-3.2-3B-Instruct.jinja"
    ),
    "meta-llama-Llama-4-Scout-17B-16E-Instruct": Kept(
        "meta-llama/Llama-4-Scout-17B-16E-Instruct", "axolotl", "llama4.jinja"
    ),
    "meta-llama-Meta-Llama-3-8B-Instruct": Kept("meta-llama/Meta-Llama-3-8B-Instruct", "trl", "llama3.jinja"),
    "microsoft-Phi-3-medium-4k-instruct": Kept(
        "microsoft/Phi-3-medium-4k-instruct", "guidance", "phi3_medium_template"
    ),
    "microsoft-Phi-3-mini-4k-instruct": Kept("microsoft/Phi-3-mini-4k-instruct", "trl", "phi3.jinja"),
    "microsoft-Phi-3-small-8k-instruct": Kept("microsoft/Phi-3-small-8k-instruct", "guidance", "phi3_small_template"),
    "microsoft-Phi-3.5-mini-instruct": Kept(
        "microsoft/Phi-3.5-mini-instruct", "llama.cpp", "microsoft-Phi-3.5-mini-instruct.jinja"
    ),
    "microsoft-phi-4": Kept("microsoft/phi-4", "unsloth", "phi4_template"),
    "microsoft-Phi-4-mini-instruct": Kept(
        "microsoft/Phi-4-mini-instruct", "vllm", "tool_chat_template_phi4_mini.jinja"
    ),
    "MiniMax-M1": Kept("MiniMaxAI/MiniMax-M1-80k", "llama.cpp", "MiniMax-M1.jinja"),
    "MiniMax-M2": Kept("MiniMaxAI/MiniMax-M2", "llama.cpp", "MiniMax-M2.jinja"),
    "MiniMax-M3": Kept("MiniMaxAI/MiniMax-M3", "llama.cpp", "MiniMax-M3.jinja"),
    "Mistral-Small-3.2-24B-Instruct-2506": Kept(
        "mistralai/Mistral-Small-3.2-24B-Instruct-2506", "llama.cpp", "Mistral-Small-3.2-24B-Instruct-2506.jinja"
    ),
    "mistralai-Ministral-3-14B-Reasoning-2512": Kept(
        "mistralai/Ministral-3-14B-Reasoning-2512", "llama.cpp", "mistralai-Ministral-3-14B-Reasoning-2512.jinja"
    ),
    "mistralai-Ministral-8B-Instruct-2410": Kept(
        "mistralai/Ministral-8B-Instruct-2410", "axolotl", "mistral_v3_tekken.jinja"
    ),
    "mistralai-Mistral-7B-Instruct-v0.1": Kept(
        "mistralai/Mistral-7B-Instruct-v0.1", "guidance", "mistral_7b_instruct_llamacpp_template"
    ),
    "mistralai-Mistral-7B-Instruct-v0.2": Kept(
        "mistralai/Mistral-7B-Instruct-v0.2", "guidance", "mistral_7b_instruct_template"
    ),
    "mistralai-Mistral-7B-Instruct-v0.3": Kept("mistralai/Mistral-7B-Instruct-v0.3", "axolotl", "mistral_v2v3.jinja"),
    "mistralai-Mistral-Nemo-Instruct-2407": Kept(
        "mistralai/Mistral-Nemo-Instruct-2407", "llama.cpp", "mistralai-Mistral-Nemo-Instruct-2407.jinja"
    ),
    "mistralai-Mistral-Small-3.1-24B-Instruct-2503": Kept(
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "axolotl", "mistral_v7_tekken.jinja"
    ),
    "mistralai-Mixtral-8x7B-Instruct-v0.1": Kept("mistralai/Mixtral-8x7B-Instruct-v0.1", "axolotl", "mistral_v1.jinja"),
    "moonshotai-Kimi-K2": Kept("moonshotai/Kimi-K2-Instruct", "llama.cpp", "moonshotai-Kimi-K2.jinja"),
    "muse-glimmer": Kept("meta-models/Muse-Glimmer-30B", "llama.cpp", "muse-glimmer.jinja"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": Kept(
        "NousResearch/Hermes-3-Llama-3.1-8B", "llama.cpp", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja"
    ),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": Kept(
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "llama.cpp", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja"
    ),
    "NVIDIA-Nemotron-Nano-v2": Kept("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "llama.cpp", "NVIDIA-Nemotron-Nano-v2.jinja"),
    "nvidia-NVIDIA-Nemotron-3-Super": Kept("nvidia/NVIDIA-Nemotron-3-Super", "trl", "nemotron_3_super.jinja"),
    "nvidia-NVIDIA-Nemotron-3-Ultra": Kept("nvidia/NVIDIA-Nemotron-3-Ultra", "trl", "nemotron_3_ultra.jinja"),
    "nvidia-NVIDIA-Nemotron-3.5-Lightning": Kept(
        "nvidia/NVIDIA-Nemotron-3.5-Lightning", "trl", "nemotron_3_5_lightning.jinja"
    ),
    "openai-gpt-oss-120b": Kept("openai/gpt-oss-120b", "llama.cpp", "openai-gpt-oss-120b.jinja"),
    "openbmb-MiniCPM5-1B": Kept("openbmb/MiniCPM5-1B", "llama.cpp", "openbmb-MiniCPM5-1B.jinja"),
    "poolside-Laguna-S-2.1": Kept("poolside/Laguna-S-2.1", "llama.cpp", "poolside-Laguna-S-2.1.jinja"),
    "poolside-Laguna-XS-2.1": Kept("poolside/Laguna-XS-2.1", "llama.cpp", "poolside-Laguna-XS-2.1.jinja"),
    "poolside-Laguna-XS.2": Kept("poolside/Laguna-XS.2", "llama.cpp", "poolside-Laguna-XS.2.jinja"),
    "Qwen-Qwen2.5-7B-Instruct": Kept("Qwen/Qwen2.5-7B-Instruct", "llama.cpp", "Qwen-Qwen2.5-7B-Instruct.jinja"),
    "Qwen-Qwen3-0.6B": Kept("Qwen/Qwen3-0.6B", "llama.cpp", "Qwen-Qwen3-0.6B.jinja"),
    "Qwen-Qwen3-4B-Instruct-2507": Kept("Qwen/Qwen3-4B-Instruct-2507", "trl", "qwen3_instruct_2507.jinja"),
    "Qwen-Qwen3-4B-Thinking-2507": Kept("Qwen/Qwen3-4B-Thinking-2507", "unsloth", "qwen3_thinking_template"),
    "Qwen-Qwen3-8B": Kept("Qwen/Qwen3-8B", "trl", "qwen3.jinja"),
    "Qwen-Qwen3.6": Kept("Qwen/Qwen3.6", "trl", "qwen3_6.jinja"),
    "Qwen-Qwen3.8": Kept("Qwen/Qwen3.8", "trl", "qwen3_8.jinja"),
    "Qwen-QwQ-32B": Kept("Qwen/QwQ-32B", "llama.cpp", "Qwen-QwQ-32B.jinja"),
    "Qwen3-Coder": Kept("Qwen/Qwen3-Coder-30B-A3B-Instruct", "llama.cpp", "Qwen3-Coder.jinja"),
    "Qwen3.5-4B": Kept("Qwen/Qwen3.5-4B", "llama.cpp", "Qwen3.5-4B.jinja"),
    "Salesforce-Llama-xLAM-2-8b-fc-r": Kept(
        "Salesforce/Llama-xLAM-2-8b-fc-r", "vllm", "tool_chat_template_xlam_llama.jinja"
    ),
    "Salesforce-xLAM-2-3b-fc-r": Kept("Salesforce/xLAM-2-3b-fc-r", "vllm", "tool_chat_template_xlam_qwen.jinja"),
    "Spark2.5": Kept("XHToken/Spark-X2.5-4B", "llama.cpp", "Spark2.5.jinja"),
    "StepFun3.5-Flash": Kept("stepfun-ai/Step-3.5-Flash", "llama.cpp", "StepFun3.5-Flash.jinja"),
    "Team-ACE-ToolACE-8B": Kept("Team-ACE/ToolACE-8B", "vllm", "tool_chat_template_toolace.jinja"),
    "tencent-Hunyuan-A13B-Instruct": Kept(
        "tencent/Hunyuan-A13B-Instruct", "vllm", "tool_chat_template_hunyuan_a13b.jinja"
    ),
    "tencent-Hy3": Kept("tencent/Hy3", "llama.cpp", "tencent-Hy3.jinja"),
    "THUDM-chatglm2-6b": Kept("THUDM/chatglm2-6b", "vllm", "template_chatglm2.jinja"),
    "THUDM-glm-4-9b-chat": Kept("THUDM/glm-4-9b-chat", "vllm", "tool_chat_template_glm4.jinja"),
    "tiiuae-falcon-180B-chat": Kept("tiiuae/falcon-180B-chat", "vllm", "template_falcon_180b.jinja"),
    "tiiuae-falcon-7b-instruct": Kept("tiiuae/falcon-7b-instruct", "vllm", "template_falcon.jinja"),
    "tiiuae-Falcon-H1-7B-Instruct": Kept("tiiuae/Falcon-H1-7B-Instruct", "axolotl", "falcon_h1.jinja"),
    "unsloth-Apriel-1.5": Kept("ServiceNow-AI/Apriel-1.5-15b-Thinker", "llama.cpp", "unsloth-Apriel-1.5.jinja"),
    "unsloth-mistral-Devstral-Small-2507": Kept(
        "mistralai/Devstral-Small-2507", "llama.cpp", "unsloth-mistral-Devstral-Small-2507.jinja"
    ),
    "upstage-Solar-Open-100B": Kept("upstage/Solar-Open-100B", "llama.cpp", "upstage-Solar-Open-100B.jinja"),
    "zai-org-GLM-4.5": Kept("zai-org/GLM-4.5", "trl", "glm4moe.jinja"),
}
"""Name of the file -> what it is."""
