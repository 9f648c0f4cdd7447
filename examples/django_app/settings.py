"""The settings. WATCHWORD_ADDRESS and WATCHWORD_API_KEY in the environment say where Watchword is."""

import os
import secrets
from pathlib import Path

HTTPS = os.environ.get("DOCUMENTS_HTTPS") == "1"
DEBUG = not HTTPS  # on this machine
# Of one process and those that are forked from it; a deployment sets one that all its hosts share.
SECRET_KEY = os.environ.get("DOCUMENTS_SECRET") or secrets.token_urlsafe(32)
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "examples.django_app.urls"
LOGIN_URL = "sign_in"

INSTALLED_APPS = ["watchword.client.django", "rest_framework", "examples.django_app"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "watchword.client.django.middleware.WatchwordMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
AUTHENTICATION_BACKENDS = ["watchword.client.django.backend.WatchwordBackend"]
# Without HTTPS, cookies cannot be for HTTPS only.
WATCHWORD = {"SECURE_COOKIES": HTTPS}
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_NAME = "__Host-csrf" if HTTPS else "csrf"
CSRF_COOKIE_HTTPONLY = True  # forms carry the token; no script needs it

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["watchword.client.django.rest_framework.WatchwordAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["watchword.client.django.rest_framework.HasRelation"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,  # REST framework's own needs the tables of django.contrib.auth
}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DOCUMENTS_DATABASE") or Path(__file__).with_name("documents.sqlite3"),
    }
}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).with_name("templates")],
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
