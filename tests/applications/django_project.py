"""A Django project, run as a process: its migrations make the database, its managers make the users.

Reads from standard input what to make, as JSON: the database, perhaps the fields of a model of its own, the users.
"""

import importlib
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

MODELS = """
from uuid import uuid4

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

class Account(AbstractBaseUser, PermissionsMixin):
    {}
    is_active = models.BooleanField(default=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "email"
"""


def main() -> None:
    order = json.load(sys.stdin)
    if order["database"]["ENGINE"].endswith("mysql"):
        import pymysql

        pymysql.version_info = (2, 2, 8, "final", 0)  # Django asks for mysqlclient's
        pymysql.install_as_MySQLdb()
    apps = ["django.contrib.auth", "django.contrib.contenttypes"]
    more = {}
    with tempfile.TemporaryDirectory() as folder:
        if order["own_model"]:
            package = Path(folder) / "members"
            (package / "migrations").mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "migrations" / "__init__.py").touch()
            (package / "models.py").write_text(MODELS.format(order["own_model"]))
            sys.path.insert(0, folder)
            apps.append("members")
            more = {"AUTH_USER_MODEL": "members.Account"}
        settings.configure(
            INSTALLED_APPS=apps,
            DATABASES={"default": order["database"]},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            PASSWORD_HASHERS=[f"django.contrib.auth.hashers.{name}" for name in order["hashers"]],
            USE_TZ=True,
            **more,
        )
        django.setup()
        if order["own_model"]:
            call_command("makemigrations", "members", verbosity=0)
            importlib.invalidate_caches()
        call_command("migrate", verbosity=0)
        make(order["users"])


def make(users: list[dict]) -> None:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import Group

    model = get_user_model()
    for given in users:
        fields = dict(given)
        groups, hasher, password = fields.pop("groups", ()), fields.pop("hasher", "default"), fields.pop("text", None)
        for name in ("date_joined", "last_login"):
            if name in fields:
                fields[name] = datetime.fromisoformat(fields[name])
        fields.setdefault("password", make_password(password, hasher=hasher))
        user = model.objects.create(**fields)
        user.groups.set([Group.objects.get_or_create(name=name)[0] for name in groups])


main()
