"""Examples that stand at the end of a command's help. A test parses each and looks its options up."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "chat": (
        ("The default model, which is fetched the first time", "localllm chat"),
        ("A file, with a system message and a context of 8192 tokens",
         "localllm chat model.gguf --system 'Answer in one sentence.' -c 8192"),
    ),
    "run": (
        ("One answer of the default model", "localllm run 'Why is the sky blue?'"),
        ("What is piped in follows the prompt", "cat report.txt | localllm run -m model.gguf 'Summarise this:'"),
        ("Always the same answer, of at most 100 tokens", "localllm run --temp 0 -n 100 'Name three rivers.'"),
        ("JSON of a form, for other programs",
         "localllm run --json-schema person.schema.json 'Invent a person.' | jq .name"),
    ),
    "serve": (
        ("One model, on http://127.0.0.1:8080", "localllm serve model.gguf"),
        ("All models of a folder, for others on the network",
         "localllm serve --models-dir ~/models --host 0.0.0.0 --api-key secret"),
    ),
    "batch": (
        ("Answer each line; the same command goes on where it was stopped",
         "localllm batch requests.jsonl answers.jsonl model.gguf"),
        ("16 requests at the same time", "localllm batch requests.jsonl answers.jsonl model.gguf -np 16"),
    ),
    "bench": (
        ("A card of this machine with the default model, to be shown to others", "localllm bench"),
        ("The fastest number of threads, kept for later runs", "localllm bench model.gguf --tune"),
        ("Speed over threads, batches and depth, as a picture", "localllm bench model.gguf --plot speed.svg"),
        ("A prompt of 512 tokens, and 128 tokens of an answer", "localllm bench model.gguf -p 512 -n 128"),
    ),
    "tune": (
        ("The formats of a model", "localllm tune model.gguf"),
        ("Every format, which takes minutes", "localllm tune --all"),
    ),
    "perplexity": (
        ("Of a text", "localllm perplexity model.gguf -f text.txt"),
        ("Keep a base model's predictions, and compare a smaller file with them",
         "localllm perplexity f16.gguf -f text.txt --kl-divergence-base base.kld"),
        ("The second step of it", "localllm perplexity q4.gguf --kl-divergence-base base.kld --kl-divergence"),
    ),
    "compare": (
        ("Which of these files to take", "localllm compare q4.gguf q5.gguf q8.gguf"),
        ("Within 4 GB of memory", "localllm compare q4.gguf q8.gguf --base f16.gguf --memory 4G"),
    ),
    "calibrate": (
        ("What the better quantizations need", "localllm calibrate model-f16.gguf -o calib.gguf"),
        ("For gptq and awq, too", "localllm calibrate model-f16.gguf --hessians"),
    ),
    "embed": (
        ("A line of numbers for each text", "localllm embed model.gguf 'red' 'blue'"),
        ("Scores of documents, by a reranker", "localllm embed reranker.gguf --query 'What is red?' 'Roses' 'The sky'"),
    ),
    "quantize": (
        ("To about 4.8 bits a weight", "localllm quantize model-f16.gguf model-q4.gguf Q4_K_M"),
        ("From a folder of Hugging Face", "localllm quantize ./SmolLM2-135M smollm2.gguf Q8_0"),
        ("The best file of at most 900 MB", "localllm quantize f16.gguf q.gguf --max-size 900M --imatrix calib.gguf"),
    ),
    "tokenize": (
        ("Side by side, in colours", "localllm tokenize model.gguf 'Hello world'"),
        ("How many tokens a file has", "localllm tokenize model.gguf --ids < report.txt | wc -w"),
    ),
    "show": (
        ("What a file holds, and the memory it needs", "localllm show model.gguf"),
        ("Before it is downloaded: whether it is supported, and fits here", "localllm show Qwen/Qwen3-4B-GGUF:Q4_K_M"),
        ("With a context of 32768 tokens, for other programs", "localllm show model.gguf -c 32768 -o json"),
    ),
    "list": (
        ("The models that are here, and those of the catalog", "localllm list"),
        ("For other programs", "localllm list -o json"),
    ),
    "pull": (
        ("A model of the catalog", "localllm pull smollm2-135m-instruct"),
        ("Several", "localllm pull smollm2-135m-instruct qwen2.5-coder-1.5b-instruct"),
    ),
    "config": (
        ("What is set, and where", "localllm config"),
        ("Every option of one command", "localllm config run"),
        ("The path of the file", "localllm config --path"),
    ),
    "doctor": (
        ("This machine", "localllm doctor"),
        ("Without the measurement, for other programs", "localllm doctor --quick -o json"),
    ),
    "completion": (
        ("In bash, from the next one on", "localllm completion bash >> ~/.bashrc"),
        ("In fish", "localllm completion fish > ~/.config/fish/completions/localllm.fish"),
    ),
    "rm": (
        ("It asks first, and says what will be free", "localllm rm qwen3-0.6b"),
        ("In a script", "localllm rm -y ggml-org/SmolLM3-3B-GGUF:Q4_K_M"),
    ),
    "help": (
        ("What `run` takes", "localllm help run"),
        ("All commands", "localllm help"),
    ),
}  # fmt: skip
"""Verb -> (what for, the command line), two to four each."""
