"""The same documents for programs, by Django REST framework. `HasRelation`, the default of the settings, asks."""

from typing import Any

from django.db.models import QuerySet
from rest_framework.generics import ListAPIView, RetrieveUpdateAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.serializers import ModelSerializer

from examples.django_app.models import Document
from watchword.client.django import get_client


class DocumentSerializer(ModelSerializer[Document]):
    """A document in JSON."""

    class Meta:
        """What is in it."""

        model = Document
        fields = ("id", "title", "text")


class DocumentView(RetrieveUpdateAPIView[Document]):
    """One document."""

    queryset = Document.objects.all()
    serializer_class = DocumentSerializer
    watchword_relation = {"GET": "can_view", "PUT": "can_edit", "PATCH": "can_edit"}  # noqa: RUF012 - of Django's kind


class DocumentListView(ListAPIView[Document]):
    """Those that the caller may see; anybody who has signed in may ask."""

    permission_classes = (IsAuthenticated,)
    serializer_class = DocumentSerializer

    def get_queryset(self) -> QuerySet[Document]:
        """Leave out the others."""
        user: Any = self.request.user
        ids = {each.watchword_object: each.id for each in Document.objects.only("id")}
        visible = get_client().filter(user.watchword_subject, "can_view", ids)
        return Document.objects.filter(id__in=[ids[name] for name in visible]).order_by("title")
