"""Documents that people share: a small FastAPI application whose users and permissions are Watchword's."""
