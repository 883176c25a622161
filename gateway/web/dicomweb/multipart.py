"""multipart/related both ways (RFC 2387): parts of a request as they stream in, of a response as they stream out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from fastapi.responses import StreamingResponse

from gateway.web.dicomweb.media import parse
from gateway.web.problems import BadRequest, UnsupportedMedia

_MAXIMUM_HEADER_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class PartBegins:
    """A part of a request begins; its media type without parameters, empty when it has none."""

    media_type: str


#: What a reader yields: a part begins, then its bytes, until the next begins.
PartEvent = PartBegins | bytes


def boundary_of(content_type: str) -> tuple[str, str]:
    """Return the boundary and the type parameter of a ``multipart/related`` Content-Type.

    Raises
    ------
    UnsupportedMedia
        If it is another media type.
    BadRequest
        If it names no boundary.
    """
    media = parse(content_type)
    if media is None or media.kind != "multipart/related":
        raise UnsupportedMedia('send multipart/related; type="application/dicom"')
    boundary = media.parameters.get("boundary", "")
    if not boundary or len(boundary) > 200:
        raise BadRequest("the Content-Type names no boundary")
    return boundary, media.parameters.get("type", "")


class PartReader:
    """Takes a request body apart as it comes, holding back only what may be part of a boundary.

    Parameters
    ----------
    boundary : str
        From the Content-Type.
    """

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode()
        # A boundary at the very start has no line break before it.
        self._held = b"\r\n"
        self._in_body = False
        self._in_header = False
        self._is_over = False

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[PartEvent]:
        """Yield parts.

        Raises
        ------
        BadRequest
            If the body ends before its closing boundary, or is not multipart.
        """
        async for chunk in chunks:
            self._held += chunk
            for event in self._events():
                yield event
        if not self._is_over:
            raise BadRequest("the multipart body is cut: its closing boundary is missing")

    def _events(self) -> Iterator[PartEvent]:
        while not self._is_over:
            before = (len(self._held), self._in_header, self._in_body)
            if self._in_header:
                yield from self._header()
            else:
                yield from self._body()
            if before == (len(self._held), self._in_header, self._in_body):
                return

    def _header(self) -> Iterator[PartEvent]:
        # Just behind a delimiter: "--" ends the message, else a line break and header lines follow.
        if self._held.startswith(b"--"):
            self._is_over = True
            return
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > _MAXIMUM_HEADER_BYTES:
                raise BadRequest("a part of the multipart body has no end of header")
            return
        lines = self._held[:end].decode("latin-1").split("\r\n")
        self._held = self._held[end + 4 :]
        self._in_header, self._in_body = False, True
        kinds = [line.partition(":")[2] for line in lines if line.lower().startswith("content-type:")]
        media = parse(kinds[0]) if kinds else None
        yield PartBegins(media_type=media.kind if media else "")

    def _body(self) -> Iterator[PartEvent]:
        found = self._held.find(self._delimiter)
        keep = len(self._held) - len(self._delimiter) + 1 if found < 0 else found
        if self._in_body and keep > 0:
            yield self._held[:keep]
        if found >= 0:
            self._held = self._held[found + len(self._delimiter) :]
            self._in_header, self._in_body = True, False
        elif keep > 0:
            self._held = self._held[keep:]


def multipart_response(parts: Iterable[Iterable[bytes]], *, part_type: str) -> StreamingResponse:
    """Stream parts as multipart/related.

    Parameters
    ----------
    parts : iterable of iterables of bytes
        Each part's body in chunks.
    part_type : str
        Content-Type of every part; its media type is the type of the whole.
    """
    boundary = secrets.token_hex(16)
    kind = part_type.partition(";")[0].strip()
    return StreamingResponse(
        _encoded(parts, boundary, part_type),
        media_type=f'multipart/related; type="{kind}"; boundary={boundary}',
    )


def _encoded(parts: Iterable[Iterable[bytes]], boundary: str, part_type: str) -> Iterator[bytes]:
    for part in parts:
        yield f"\r\n--{boundary}\r\nContent-Type: {part_type}\r\n\r\n".encode()
        yield from part
    yield f"\r\n--{boundary}--\r\n".encode()
