"""The chat program: what `localllm chat` shows, reads and keeps; conversations in a database, commands as a table."""
