"""Documents that people share: a small Flask application whose users and permissions are Watchword's."""
