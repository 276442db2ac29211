"""Speculation: somebody guesses what comes next, and one pass over all guesses says how many of them are right.

A guess is kept where the answer's own logits and draws choose the same token: the text is that without guesses, bit for
bit, greedy or sampled (Leviathan et al., arXiv 2211.17192, need a rule to accept by, because their verification draws
anew; here each token is drawn as it always is, from logits that do not depend on the batch).
"""
