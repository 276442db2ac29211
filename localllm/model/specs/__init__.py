"""Architectures: see `localllm.model.spec` for what the fields mean.

FILES says which file describes a value of general.architecture. A file's SPECS holds a Spec for each of its names.
"""

FILES = {
    name: file
    for file, names in {
        "alike": "bitnet internlm2 xverse pangu-embedded exaone arcee seed_oss smollm3 nanbeige maincoder qwen chatglm "
        "baichuan llada dream qwen2vl qwen3vl qwen3vlmoe qwen3tts ernie4_5 paddleocr deci plamo openelm cogvlm",
        "llama": "llama mistral3 llama-embed",
        "llama4": "llama4",
        "qwen": "qwen2 qwen3 qwen2moe qwen3moe rnd1",
        "gemma": "gemma gemma2 gemma3 gemma-embedding",
        "gemma4": "gemma3n gemma4",
        "bert": "bert nomic-bert nomic-bert-moe jina-bert-v2 jina-bert-v3 modern-bert neo-bert eurobert",
        "t5": "t5 t5encoder",
        "phi": "phi2 phi3 phimoe",
        "gpt_oss": "gpt-oss",
        "glm": "glm4 glm4moe",
        "granite": "granite granitemoe granitehybrid granite_swa minicpm",
        "olmo": "olmo olmo2 olmoe",
        "cohere": "command-r cohere2 cohere2moe",
        "exaone": "exaone4 exaone-moe",
        "gpt": "gpt2 starcoder starcoder2 gptneox falcon bloom mpt stablelm codeshell orion nemotron jais jais2 refact "
        "pockettts",
        "moe": "deepseek deepseek2-ocr dots1 ernie4_5-moe hunyuan-moe bailingmoe bailingmoe2 minimax-m2 afmoe arctic "
        "dbrx grok grovemoe hy_v3 laguna llada-moe maple mellum mimo2 smallthinker",
        "hunyuan": "hunyuan-dense hunyuan_vl",
        "apertus": "apertus",
        "lfm2": "lfm2 lfm2moe",
        "minimax": "minimax-01 minimax-m3",
        "hrm": "hrm_text",
        "chameleon": "chameleon",
        "step": "step35",
        "hy_v4": "hy_v4",
        "mamba": "mamba mamba2 jamba",
        "latent": "deepseek2 mistral4 deepseek32 glm-dsa dots3note minicpm3 plm",
        "kimi": "kimi-linear kimi-k3 bailingmoe3",
        "qwen_next": "qwen3next qwen35 qwen35moe qwen4exp",
        "rwkv": "rwkv6 rwkv6qwen2 rwkv7 arwkv7",
        "falcon_h1": "falcon-h1",
        "plamo2": "plamo2",
        "nemotron_h": "nemotron_h nemotron_h_moe",
        "deepseek4": "deepseek4",
        "glm5_next": "glm5-next",
        "others": "plamo3 muse-glimmer spark2_5 talkie",
    }.items()
    for name in names.split()
}
