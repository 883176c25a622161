"""A thin REST client for Orthanc."""

from orthanc.changes import NEW_INSTANCE, Change, ChangesPage
from orthanc.client import OrthancClient, Uploaded
from orthanc.errors import OrthancError, OrthancNotFound, OrthancRejected, OrthancUnreachable
from orthanc.policies import Policies

__all__ = [
    "NEW_INSTANCE",
    "Change",
    "ChangesPage",
    "OrthancClient",
    "OrthancError",
    "OrthancNotFound",
    "OrthancRejected",
    "OrthancUnreachable",
    "Policies",
    "Uploaded",
]
