"""A Flask application with Flask-Security, run as a process: its models make the tables, its datastore the users."""

import json
import sys
from datetime import datetime

from flask import Flask
from flask_security import Security, SQLAlchemyUserDatastore, hash_password
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy

order = json.load(sys.stdin)
app = Flask("application")
app.config.update(
    SECRET_KEY="a secret of the tests",
    SQLALCHEMY_DATABASE_URI=order["database"],
    SECURITY_PASSWORD_SALT=order["salt"],
    SECURITY_PASSWORD_HASH=order["scheme"],
    SECURITY_PASSWORD_SCHEMES=[order["scheme"], "plaintext"],
)
if order["single_hash"] is not None:
    app.config["SECURITY_PASSWORD_SINGLE_HASH"] = order["single_hash"]
db = SQLAlchemy(app)
fsqla_v3.FsModels.set_db_info(db)


class Role(db.Model, fsqla_v3.FsRoleMixin):
    pass


class User(db.Model, fsqla_v3.FsUserMixin):
    pass


datastore = SQLAlchemyUserDatastore(db, User, Role)
Security(app, datastore)
with app.app_context():
    db.create_all()
    for given in order["users"]:
        fields = dict(given)
        roles = [datastore.find_or_create_role(name=name) for name in fields.pop("roles", ())]
        for name in ("last_login_at", "current_login_at"):
            if name in fields:
                fields[name] = datetime.fromisoformat(fields[name])
        text = fields.pop("text", None)
        datastore.create_user(roles=roles, password=text and hash_password(text), **fields)
    db.session.commit()
