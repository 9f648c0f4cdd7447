"""What the examples share: the server of `make run`, and the web applications among them the model of documents.

An application of yours has its model in a file of its own, and gets its settings from its environment.
"""

import os
from pathlib import Path

from watchword.client import Client

# Who may do what, in one place for all services that ask. The applications' own data says nothing about it.
MODEL = """model
  schema 1.1
type user
type document
  relations
    define owner: [user]
    define editor: [user] or owner
    define viewer: [user] or editor
    define can_view: viewer
    define can_edit: editor
    define can_share: owner
"""
TRY = """Documents: http://{address}
Make two users, in another terminal, and sign in as each, in two browsers:
  .venv/bin/watchword users create --username ana --ask-password
  .venv/bin/watchword users create --username ben --ask-password
Then let ana create a document and share it with ben, and take it back: ben's next click is refused.
"""


def find_server() -> None:
    """Take the administrator's key of `make run`, unless the environment has another one."""
    key = Path(".watchword", "administrator.key")
    if "WATCHWORD_API_KEY" not in os.environ and key.exists():
        os.environ["WATCHWORD_API_KEY"] = key.read_text().strip()


def write_model(dsl: str = MODEL) -> None:
    """Put a permission model into force if another one is."""
    with Client.from_environment() as client:
        if client.permissions.get_model().dsl != dsl:
            client.permissions.write_model(dsl=dsl)
