"""Where models lie on this machine: what we fetched, and what other programs did; one file a program."""
