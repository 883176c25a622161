"""The couriers of HTTP destinations: STOW-RS with read-back by QIDO-RS, and Orthanc's REST API."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import requests

from gateway.config import Destination
from gateway.domain.errors import ConfigurationError, PeerRejected, PeerUnreachable
from gateway.services.courier import Carried, Parcel, Receipt
from gateway.services.password_file import read_password
from orthanc import OrthancClient, OrthancError, OrthancRejected, OrthancUnreachable

_TIMEOUT_S: Final = 120.0
_DICOM_JSON: Final = "application/dicom+json"
_FAILED, _REFERENCED, _UID, _REASON = "00081198", "00081199", "00081155", "00081197"


class StowCourier:
    """Carries parcels to a DICOMweb server; see `gateway.services.courier.Courier`.

    Parameters
    ----------
    name, url : str
        Of the destination.
    username, password : str
        Empty for none.
    """

    def __init__(self, name: str, url: str, *, username: str = "", password: str = "") -> None:
        self._name = name
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        if username:
            self._session.auth = (username, password)

    def carry(self, parcels: Sequence[Parcel], *, read_back: bool) -> list[Receipt]:
        """Send parcels in one request, PS3.18 section 10.5, then ask for each.

        Raises
        ------
        PeerUnreachable, PeerRejected
            Nothing is known to have been stored.
        """
        answer = self._store(parcels)
        failed = {_value(item, _UID): _value(item, _REASON) for item in _sequence(answer, _FAILED)}
        stored = {_value(item, _UID) for item in _sequence(answer, _REFERENCED)}
        receipts = []
        for parcel in parcels:
            uid = parcel.sop_instance_uid
            if uid in failed:
                detail = f"'{self._name}' refused it with failure reason {failed[uid]}"
                receipts.append(Receipt(sop_instance_uid=uid, carried=Carried.REFUSED, detail=detail))
            elif uid not in stored:
                detail = f"'{self._name}' does not say that it stored it"
                receipts.append(Receipt(sop_instance_uid=uid, carried=Carried.UNSENT, detail=detail))
            else:
                receipts.append(self._ask(parcel) if read_back else _accepted(uid))
        return receipts

    def look_up(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        """Ask whether parcels are there, PS3.18 section 10.6.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked now.
        """
        return [self._ask(parcel) for parcel in parcels]

    def _store(self, parcels: Sequence[Parcel]) -> dict[str, Any]:
        boundary = uuid.uuid4().hex
        body = b"".join(
            b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (boundary.encode(), parcel.path.read_bytes())
            for parcel in parcels
        )
        headers = {
            "Accept": _DICOM_JSON,
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        }
        answer = self._call("POST", "/studies", data=body + b"--%s--\r\n" % boundary.encode(), headers=headers)
        # 409: nothing, or not all, was stored; the body says which.
        if answer.status_code not in (200, 202, 409):
            raise PeerRejected(f"'{self._name}' answered STOW-RS with HTTP {answer.status_code}")
        parsed = _parsed(answer)
        if not isinstance(parsed, dict):
            raise PeerRejected(f"'{self._name}' answered STOW-RS with HTTP {answer.status_code} and nothing readable")
        return parsed

    def _ask(self, parcel: Parcel) -> Receipt:
        uid = parcel.sop_instance_uid
        path = f"/studies/{parcel.study_instance_uid}/series/{parcel.series_instance_uid}/instances"
        answer = self._call("GET", path, params={"SOPInstanceUID": uid}, headers={"Accept": _DICOM_JSON})
        if answer.status_code not in (200, 204, 404):
            return _accepted(uid, f"not verified: QIDO-RS answered HTTP {answer.status_code}")
        found = _parsed(answer) if answer.status_code == 200 else []
        if isinstance(found, list) and any(_value(match, "00080018") == uid for match in found):
            return Receipt(sop_instance_uid=uid, carried=Carried.CONFIRMED)
        return Receipt(
            sop_instance_uid=uid, carried=Carried.MISSING, detail=f"'{self._name}' accepted it, and does not list it"
        )

    def _call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self._url + path, timeout=_TIMEOUT_S, **arguments)
        except requests.RequestException as error:
            raise PeerUnreachable(f"'{self._name}' does not answer: {type(error).__name__}") from None
        if answer.status_code in (401, 403):
            raise PeerRejected(f"'{self._name}' refuses our user name or password (HTTP {answer.status_code})")
        if answer.status_code in (502, 503, 504):
            raise PeerUnreachable(f"'{self._name}' is not available (HTTP {answer.status_code})")
        return answer


class OrthancCourier:
    """Carries parcels to an Orthanc by its REST API; see `gateway.services.courier.Courier`.

    Parameters
    ----------
    name : str
        Of the destination.
    client : OrthancClient
        The Orthanc.
    """

    def __init__(self, name: str, client: OrthancClient) -> None:
        self._name = name
        self._client = client

    def carry(self, parcels: Sequence[Parcel], *, read_back: bool) -> list[Receipt]:
        """Upload parcels in order, and look each up.

        Raises
        ------
        PeerUnreachable
            Nothing was sent.
        """
        receipts: list[Receipt] = []
        for parcel in parcels:
            try:
                receipts.append(self._carry_one(parcel, read_back))
            except OrthancUnreachable as error:
                if not receipts:
                    raise PeerUnreachable(f"'{self._name}': {error.detail}") from None
                receipts.append(
                    Receipt(sop_instance_uid=parcel.sop_instance_uid, carried=Carried.UNSENT, detail=error.detail)
                )
        return receipts

    def look_up(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        """Ask whether parcels are there.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked now.
        """
        try:
            return [self._ask(parcel.sop_instance_uid) for parcel in parcels]
        except OrthancUnreachable as error:
            raise PeerUnreachable(f"'{self._name}': {error.detail}") from None
        except OrthancError as error:
            raise PeerRejected(f"'{self._name}': {error.detail}") from None

    def _carry_one(self, parcel: Parcel, read_back: bool) -> Receipt:
        try:
            self._client.upload(parcel.path.read_bytes())
            return self._ask(parcel.sop_instance_uid) if read_back else _accepted(parcel.sop_instance_uid)
        except OrthancRejected as error:
            return Receipt(
                sop_instance_uid=parcel.sop_instance_uid,
                carried=Carried.REFUSED,
                detail=f"'{self._name}': {error.detail}",
            )

    def _ask(self, uid: str) -> Receipt:
        if self._client.find_instance(uid) is not None:
            return Receipt(sop_instance_uid=uid, carried=Carried.CONFIRMED)
        return Receipt(
            sop_instance_uid=uid, carried=Carried.MISSING, detail=f"'{self._name}' accepted it, and does not list it"
        )


def http_courier(destination: Destination) -> StowCourier | OrthancCourier:
    """Return the courier of a destination of kind ``stow`` or ``orthanc``.

    Raises
    ------
    ConfigurationError
        If its URL is missing or its password file cannot be read.
    """
    if not destination.url:
        raise ConfigurationError(f"destination '{destination.name}' of kind {destination.kind} needs url")
    password = read_password(destination.password_file, f"destination '{destination.name}'")
    if destination.kind == "stow":
        return StowCourier(destination.name, destination.url, username=destination.username, password=password)
    client = OrthancClient(destination.url, username=destination.username, password=password)
    return OrthancCourier(destination.name, client)


def _accepted(uid: str, detail: str = "") -> Receipt:
    return Receipt(sop_instance_uid=uid, carried=Carried.ACCEPTED, detail=detail)


def _parsed(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except requests.exceptions.JSONDecodeError:
        return None


def _sequence(dataset: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    """Return the items of a sequence in the DICOM JSON model, PS3.18 Annex F."""
    return list(dataset.get(tag, {}).get("Value", []))


def _value(dataset: dict[str, Any], tag: str) -> str:
    values = dataset.get(tag, {}).get("Value", [])
    return str(values[0]) if values else ""
