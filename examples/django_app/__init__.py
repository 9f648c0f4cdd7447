"""Documents that people share: a small Django project whose users and permissions are Watchword's."""
