"""Text to token ids and back: tokenizers, pre-tokenizers, chat templates."""
