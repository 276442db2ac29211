"""Conversations with tools and thinking: what goes into a template, and what the parts of an answer are."""
