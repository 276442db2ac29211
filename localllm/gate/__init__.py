"""The one gate: each check that decides whether a file, or a call, is accepted; `localllm.gate.table` lists them."""
