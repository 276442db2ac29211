"""What clients speak: a file for each dialect, which translates between its messages and the engine's."""
