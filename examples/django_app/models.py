"""The application's own table."""

import uuid

from django.db import models


class Document(models.Model):
    """A document. Who may see it is not here."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True)

    def __str__(self) -> str:
        """Its title."""
        return self.title

    @property
    def watchword_object(self) -> str:
        """Its name in permissions."""
        return f"document:{self.id}"
