"""Talks HTTP to a running gateway on behalf of a verb or the demonstration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.domain.errors import GatewayError, NotFound, PeerRejected, PeerUnreachable, StorageUnavailable

#: A cold case page may need a picture; nothing takes longer than an edit that is matched while we wait.
_TIMEOUT_S = (5, 120)
_CHUNK = 1 << 20
_NO_CONTENT = 204


class GatewayClient:
    """A running gateway.

    Parameters
    ----------
    url : str
        Its address, for instance ``http://127.0.0.1:8080``.
    token : str, optional
        Bearer token; the environment variable OVERREAD_TOKEN when None.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        import requests

        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/json"
        given = os.environ.get("OVERREAD_TOKEN", "") if token is None else token
        if given:
            self._session.headers["Authorization"] = f"Bearer {given}"

    def get(self, path: str, **query: object) -> Any:
        """Return the JSON that a GET answers; empty query values are left out.

        Raises
        ------
        PeerUnreachable
            If no gateway answers there.
        NotFound
            If it says so.
        PeerRejected
            If it refuses; the detail is its own sentence.
        """
        wanted = {key: str(value) for key, value in query.items() if value not in (None, "")}
        return self._call("GET", path, params=wanted)

    def post(self, path: str, content: Mapping[str, object], *, answer_seconds: float = _TIMEOUT_S[1]) -> Any:
        """POST JSON and return the JSON it answers within `answer_seconds`; errors as in `get`."""
        return self._call("POST", path, json=dict(content), timeout=(_TIMEOUT_S[0], answer_seconds))

    def post_file(self, path: str, file: Path, media_type: str, **query: str) -> Any:
        """POST a file and return the JSON it answers; empty query values are left out, errors as in `get`."""
        wanted = {key: value for key, value in query.items() if value}
        with file.open("rb") as stream:
            return self._call("POST", path, data=stream, params=wanted, headers={"Content-Type": media_type})

    def download(self, path: str, target: Path) -> int:
        """Write what a GET answers to `target`, whole or not at all; return the number of bytes.

        Raises
        ------
        StorageUnavailable
            If it cannot be written; where that shows at once, nothing is asked for: asking may have consequences.
        """
        if target.is_dir():
            raise StorageUnavailable(f"{target} cannot be written: it is a folder")
        partial = target.with_name(target.name + ".part")
        try:
            with partial.open("wb") as stream, self._answered("GET", path, stream=True) as response:
                size = sum(stream.write(chunk) for chunk in response.iter_content(_CHUNK))
            partial.replace(target)
        except OSError as error:
            raise StorageUnavailable(f"{target} cannot be written: {error.strerror}") from None
        finally:
            with suppress(OSError):
                partial.unlink()
        return size

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        with self._answered(method, path, **arguments) as response:
            if response.status_code == _NO_CONTENT or not response.content:
                return {}
            try:
                return response.json()
            except ValueError:
                raise PeerRejected(f"{self._url} answers, but is no Overread gateway") from None

    @contextmanager
    def _answered(self, method: str, path: str, **arguments: Any) -> Iterator[Any]:
        import requests

        try:
            with self._session.request(method, self._url + path, **{"timeout": _TIMEOUT_S, **arguments}) as response:
                if not response.ok:
                    raise _refusal(response)
                yield response
        except requests.ConnectionError:
            raise PeerUnreachable(
                f"no gateway answers at {self._url}: start one with 'overread serve', or name it by --url"
            ) from None
        except requests.Timeout:
            raise PeerUnreachable(f"the gateway at {self._url} does not answer in time") from None
        except requests.RequestException as error:
            raise PeerUnreachable(f"the gateway at {self._url} cannot be asked: {type(error).__name__}") from None


def _refusal(response: Any) -> GatewayError:
    """Turn an RFC 9457 answer into an error with its own sentence."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    detail = problem.get("detail") or problem.get("title") or f"it answers {response.status_code}"
    for fault in problem.get("errors", ()):
        detail = f"{detail}; {fault['where']}: {fault['message']}"
    code = problem.get("code")
    if response.status_code in (401, 403):
        detail = f"{detail} (the environment variable OVERREAD_TOKEN holds your token)"
    kind = NotFound if response.status_code == 404 else PeerRejected
    return kind(str(detail), code=str(code) if code else None)
