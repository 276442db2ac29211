"""Run GGUF language models on the CPU."""
