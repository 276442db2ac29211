"""Many answers at once from one context: requests come in from any thread, events go out; no web in it."""
