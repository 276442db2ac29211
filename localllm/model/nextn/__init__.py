"""Multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2; "nextn" in GGUF): a further layer that guesses
the token after the next one, from the next one and the hidden state of the last. It is read, and takes memory, only
when somebody asks for a `Predictor`.
"""
