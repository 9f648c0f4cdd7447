# Made by client/make_sync.py from client/watchword/client/_async/__init__.py. Do not edit: change that file and run `make generate`.
"""The synchronous client."""
