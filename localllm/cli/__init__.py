"""The command line: one file a verb, arguments in, text out."""
