"""All environment variables that are read, in one place: docs/ are generated from it, and a test compares it with the
sources. Variables of options follow from the options: LOCALLLM_<NAME>."""

from __future__ import annotations

VARIABLES: dict[str, str] = {
    "LOCALLLM_HOME": "Folder of the models, the configuration, the chat's history and conversations. "
    "[default: the user's data, configuration and state folders, as the system names them]",
    "LOCALLLM_CACHE": "Folder of compiled kernels and of what is kept of prompts. [default: the user's cache folder]",
    "LOCALLLM_CONFIG": "The configuration file. [default: config.toml in LOCALLLM_HOME, or in the user's "
    "configuration folder]",
    "LOCALLLM_MODEL": "The model that is used where none is named: what MODEL takes.",
    "LOCALLLM_ORIGINS": "Whose models are found, with commas between: localllm, huggingface, lmstudio, llama.cpp, "
    "ollama. [default: all]",
    "LOCALLLM_TARGET": "Which instructions the kernels use: `localllm doctor` names them. [default: the best that the "
    "processor has]",
    "LOCALLLM_VARIANTS": "Variants of kernels: default, or a product's each, such as matmul=2x2,matvec=2048. [default: "
    "what was measured to be the fastest, by the first start or `localllm tune`]",
    "LOCALLLM_DEBUG": "1: a bug shows its traceback.",
}
"""Name -> what it does: those of localllm that no option stands for."""

HONOURED: dict[str, str] = {
    "LLAMA_ARG_MODEL": "As LOCALLLM_MODEL, which goes first.",
    "LLAMA_ARG_HF_REPO": "As LOCALLLM_MODEL: org/repo[:QUANT] of the Hugging Face hub.",
    "HF_ENDPOINT": "Address of the hub. [default: https://huggingface.co]",
    "HF_TOKEN": "Token for the hub; it is sent to the hub's own host alone.",
    "HUGGING_FACE_HUB_TOKEN": "As HF_TOKEN, which goes first.",
    "HF_TOKEN_PATH": "File with the token. [default: what `hf auth login` wrote]",
    "HF_HOME": "Folder of all that Hugging Face's programs keep. [default: ~/.cache/huggingface]",
    "HF_HUB_CACHE": "Folder of downloaded repositories. [default: hub in HF_HOME]",
    "HUGGINGFACE_HUB_CACHE": "As HF_HUB_CACHE, which goes first.",
    "HF_HUB_OFFLINE": "1: the network is not used.",
    "TRANSFORMERS_OFFLINE": "As HF_HUB_OFFLINE, which goes first.",
    "HTTPS_PROXY": "Proxy for downloads; HTTP_PROXY, ALL_PROXY and NO_PROXY, too.",
    "LLAMA_CACHE": "Folder of llama.cpp's downloads, where its models are looked for.",
    "OLLAMA_MODELS": "Folder of Ollama's models. [default: ~/.ollama/models, or the service's]",
    "XDG_CACHE_HOME": "Folder in which caches of other programs are looked for. [default: ~/.cache]",
    "LOCALAPPDATA": "The same on Windows.",
    "NO_COLOR": "Anything: no colours.",
    "FORCE_COLOR": "1, 2 or 3: 16, 256 or all colours, on a terminal that does not say what it can.",
    "CLICOLOR_FORCE": "1: as FORCE_COLOR=1.",
    "TERM": "The kind of terminal; dumb: plain text.",
    "COLORTERM": "truecolor: the terminal has all colours.",
    "COLUMNS": "Width of the terminal, where it cannot be asked.",
    "LINES": "Its height.",
    "PYTHONIOENCODING": "On Windows: what files and pipes are written in. [default: UTF-8]",
}
"""Name -> what it does: variables of other programs."""

LLAMA_ARGUMENTS: dict[str, str] = {
    "LOCALLLM_THREADS": "LLAMA_ARG_THREADS",
    "LOCALLLM_CTX_SIZE": "LLAMA_ARG_CTX_SIZE",
    "LOCALLLM_PREDICT": "LLAMA_ARG_N_PREDICT",
    "LOCALLLM_SWA_FULL": "LLAMA_ARG_SWA_FULL",
    "LOCALLLM_TEMP": "LLAMA_ARG_TEMPERATURE",
    "LOCALLLM_TOP_K": "LLAMA_ARG_TOP_K",
    "LOCALLLM_TOP_P": "LLAMA_ARG_TOP_P",
    "LOCALLLM_MIN_P": "LLAMA_ARG_MIN_P",
    "LOCALLLM_REPEAT_PENALTY": "LLAMA_ARG_REPEAT_PENALTY",
    "LOCALLLM_PRESENCE_PENALTY": "LLAMA_ARG_PRESENCE_PENALTY",
    "LOCALLLM_FREQUENCY_PENALTY": "LLAMA_ARG_FREQUENCY_PENALTY",
    "LOCALLLM_PARALLEL": "LLAMA_ARG_N_PARALLEL",
    "LOCALLLM_POOLING": "LLAMA_ARG_POOLING",
    "LOCALLLM_EMBEDDINGS": "LLAMA_ARG_EMBEDDINGS",
    "LOCALLLM_ALIAS": "LLAMA_ARG_ALIAS",
    "LOCALLLM_HOST": "LLAMA_ARG_HOST",
    "LOCALLLM_PORT": "LLAMA_ARG_PORT",
    "LOCALLLM_API_KEY": "LLAMA_API_KEY",
    "LOCALLLM_API_KEY_FILE": "LLAMA_ARG_API_KEY_FILE",
    "LOCALLLM_TIMEOUT": "LLAMA_ARG_TIMEOUT",
    "LOCALLLM_MODELS_DIR": "LLAMA_ARG_MODELS_DIR",
    "LOCALLLM_METRICS": "LLAMA_ARG_ENDPOINT_METRICS",
    "LOCALLLM_SLOTS": "LLAMA_ARG_ENDPOINT_SLOTS",
}
"""Our variable -> llama.cpp's (common/arg.cpp), which counts where ours is not set: options of the same meaning."""
