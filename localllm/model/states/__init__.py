"""What layers keep of the tokens that were read. `state` defines the interface, and a kind of state is a file:

* `cells`: a row for each position (keys and values, latent rows, an indexer's keys), in a ring where there is a window;
* `recurrent`: one state of a fixed size for the whole past (convolution tails, matrices of SSMs and delta-nets).

`slots` counts who uses which copy of the recurrent states, and when one is kept as a checkpoint.
"""
