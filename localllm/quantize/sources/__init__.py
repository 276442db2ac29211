"""Where tensors come from: GGUF files and Hugging Face folders, one file a kind."""
