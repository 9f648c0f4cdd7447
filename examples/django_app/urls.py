"""What is where."""

from django.urls import path

from examples.django_app import api, views

urlpatterns = [
    path("ready", views.ready),
    path("", views.index, name="index"),
    path("sign-in", views.sign_in, name="sign_in"),
    path("sign-out", views.sign_out, name="sign_out"),
    path("documents", views.create, name="create"),
    path("documents/<uuid:document_id>", views.show, name="show"),
    path("documents/<uuid:document_id>/edit", views.edit, name="edit"),
    path("documents/<uuid:document_id>/share", views.share, name="share"),
    path("documents/<uuid:document_id>/unshare", views.unshare, name="unshare"),
    path("documents/<uuid:document_id>/text", views.text, name="text"),
    path("api/documents", api.DocumentListView.as_view()),
    path("api/documents/<uuid:pk>", api.DocumentView.as_view()),
]
