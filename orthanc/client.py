"""A thin client of Orthanc's REST API: what the gateway needs of it, as typed values."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import requests

from orthanc.changes import ChangesPage, parse_page
from orthanc.errors import OrthancNotFound, OrthancRejected, OrthancUnreachable
from orthanc.policies import Policies, parse_policies

_INSTANCE = "Instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What became of an upload.

    Parameters
    ----------
    resource_id : str
        Orthanc's identifier of the instance.
    was_there : bool
        Whether it had an instance of this identity before.
    """

    resource_id: str
    was_there: bool


class OrthancClient:
    """An Orthanc at an address; a context manager that closes its connections.

    Parameters
    ----------
    url : str
        REST root.
    username, password : str
        Empty for none.
    timeout_seconds : float
        For each request.
    """

    def __init__(self, url: str, *, username: str = "", password: str = "", timeout_seconds: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout_seconds
        self._session = requests.Session()
        # No proxy and no .netrc of whoever started us: what is configured is all there is.
        self._session.trust_env = False
        if username:
            self._session.auth = (username, password)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def system(self) -> dict[str, Any]:
        """Return what it says about itself.

        Raises
        ------
        OrthancUnreachable, OrthancRejected
            As for every call.
        """
        return self._json("GET", "/system")

    def policies(self) -> Policies:
        """Return what it does with what it is given, as far as its version tells.

        Raises
        ------
        OrthancUnreachable, OrthancRejected
            If it does not answer ``/system``.
        """
        unknown: str | None = None
        modalities: dict[str, Any] | None = None
        system = self.system()
        with suppress(OrthancNotFound, OrthancRejected):
            unknown = self._call("GET", "/tools/unknown-sop-class-accepted").text
        with suppress(OrthancNotFound, OrthancRejected):
            modalities = self._json("GET", "/modalities?expand")
        return parse_policies(system, unknown_classes=unknown, modalities=modalities)

    def changes(self, since: int, limit: int = 100) -> ChangesPage:
        """Return what changed after a sequence number.

        Parameters
        ----------
        since : int
            Sequence number of the last change already seen.
        limit : int
            Most changes of one page.
        """
        answer = self._json("GET", "/changes", parameters={"since": since, "limit": limit})
        return self._parsed(answer)

    def last_change(self) -> ChangesPage:
        """Return a page that holds only the newest change, or none."""
        return self._parsed(self._json("GET", "/changes?last"))

    def sop_class_of(self, resource_id: str) -> str:
        """Return the SOP Class UID of an instance.

        Raises
        ------
        OrthancNotFound
            If it was deleted meanwhile.
        """
        return self._call("GET", f"/instances/{resource_id}/metadata/SopClassUid").text.strip()

    def instance_file(self, resource_id: str) -> bytes:
        """Return the DICOM file of an instance.

        Raises
        ------
        OrthancNotFound
            If it was deleted meanwhile.
        """
        return self._call("GET", f"/instances/{resource_id}/file").content

    def study_instances(self, resource_id: str) -> tuple[str, tuple[str, ...]]:
        """Return the Study Instance UID of a study and the SOP Instance UIDs it has there.

        Raises
        ------
        OrthancNotFound
            If it was deleted meanwhile.
        OrthancRejected
            If the answer cannot be read.
        """
        study = self._json("GET", f"/studies/{resource_id}")
        instances = _json(self._call("GET", f"/studies/{resource_id}/instances"))
        try:
            names = tuple(str(one["MainDicomTags"]["SOPInstanceUID"]) for one in instances)
            return str(study["MainDicomTags"]["StudyInstanceUID"]), names
        except (KeyError, TypeError):
            raise OrthancRejected("the answer to /studies is not what an Orthanc would say") from None

    def find_instance(self, sop_instance_uid: str) -> str | None:
        """Return Orthanc's identifier of an instance, None if it has none of this UID."""
        answer = self._call("POST", "/tools/lookup", body=sop_instance_uid.encode())
        return next((str(found["ID"]) for found in _json(answer) if found.get("Type") == _INSTANCE), None)

    def upload(self, content: bytes) -> Uploaded:
        """Store a DICOM file.

        Raises
        ------
        OrthancRejected
            If it does not take the file.
        """
        answer = _json(self._call("POST", "/instances", body=content))
        if answer.get("Status") not in ("Success", "AlreadyStored"):
            raise OrthancRejected("the Orthanc took the upload, and says it did not store it")
        return Uploaded(resource_id=str(answer["ID"]), was_there=answer["Status"] == "AlreadyStored")

    def _parsed(self, answer: dict[str, Any]) -> ChangesPage:
        try:
            return parse_page(answer)
        except (KeyError, TypeError, ValueError):
            raise OrthancRejected("the answer to /changes is not what an Orthanc would say") from None

    def _json(self, method: str, path: str, parameters: dict[str, int] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = _json(self._call(method, path, parameters=parameters))
        return answer

    def _call(
        self, method: str, path: str, *, parameters: dict[str, int] | None = None, body: bytes | None = None
    ) -> requests.Response:
        try:
            answer = self._session.request(
                method, self._url + path, params=parameters, data=body, timeout=self._timeout
            )
        except requests.RequestException as error:
            raise OrthancUnreachable(
                f"the Orthanc does not answer ({type(error).__name__}): check its url and that it runs"
            ) from None
        if answer.status_code == 404:
            raise OrthancNotFound("the Orthanc does not have what was asked for")
        if answer.status_code in (401, 403):
            raise OrthancRejected("the Orthanc refuses our user name or password")
        if not answer.ok:
            raise OrthancRejected(f"the Orthanc answered HTTP {answer.status_code}")
        return answer


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except requests.exceptions.JSONDecodeError:
        raise OrthancRejected("the answer is not JSON: is this the REST root of an Orthanc?") from None
