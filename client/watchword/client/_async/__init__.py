"""The asynchronous client. `client/make_sync.py` makes the synchronous one from it."""
