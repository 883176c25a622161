"""A thin REST client for Orthanc."""

from orthanc.changes import NEW_INSTANCE, STABLE_STUDY, Change, ChangesPage
from orthanc.client import OrthancClient, Uploaded
from orthanc.errors import OrthancError, OrthancNotFound, OrthancRejected, OrthancUnreachable
from orthanc.policies import Policies

__all__ = [
    "NEW_INSTANCE",
    "STABLE_STUDY",
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
