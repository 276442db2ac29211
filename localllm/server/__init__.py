"""The HTTP server: an app over engines, and one file for each dialect that clients speak."""
