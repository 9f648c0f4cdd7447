"""Turns protobuf messages of organizations into models."""

from watchword.client import _organization_models as models
from watchword.client._convert import enum_of, time_if_set, time_of
from watchword.v1 import organizations_pb2 as pb


def organization(message: pb.Organization) -> models.Organization:
    """An organization."""
    return models.Organization(
        organization_id=message.organization_id,
        display_name=message.display_name or None,
        status=enum_of(models.OrganizationStatus, pb.OrganizationStatus.DESCRIPTOR, message.status),
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        delete_time=time_if_set(message, "delete_time"),
        etag=message.etag,
    )


def group(message: pb.Group) -> models.Group:
    """A group."""
    return models.Group(
        group_id=message.group_id,
        organization_id=message.organization_id,
        display_name=message.display_name or None,
        status=enum_of(models.OrganizationStatus, pb.OrganizationStatus.DESCRIPTOR, message.status),
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        delete_time=time_if_set(message, "delete_time"),
        etag=message.etag,
    )


def member(message: pb.Member) -> models.Member:
    """A member."""
    return models.Member(subject=message.subject, role=message.role)


def invitation(message: pb.Invitation) -> models.Invitation:
    """An invitation."""
    return models.Invitation(
        invitation_id=message.invitation_id,
        organization_id=message.organization_id,
        role=message.role,
        email=message.email or None,
        create_time=time_of(message.create_time),
        expire_time=time_of(message.expire_time),
    )
