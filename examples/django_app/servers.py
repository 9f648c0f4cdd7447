"""The application for WSGI and ASGI servers.

`gunicorn --preload examples.django_app.servers:wsgi`, `uvicorn examples.django_app.servers:asgi`.
"""

import os

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_app.settings")

wsgi = get_wsgi_application()
asgi = get_asgi_application()
