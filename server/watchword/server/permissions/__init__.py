"""Permissions: the language of models, and what is answered from it."""
