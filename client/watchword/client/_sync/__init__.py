# Made by client/make_sync.py from client/watchword/client/_async/__init__.py: do not edit.
"""The synchronous client."""
