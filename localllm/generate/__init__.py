"""From logits to text: sampling, the token loop, conversations."""
