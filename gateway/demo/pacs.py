"""A stand-in PACS for the demonstration: keeps what it is sent as files, and nothing else."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import AllStoragePresentationContexts

from dicom_sr.uids import require_uid


class StandInPacs:
    """Receives by C-STORE on a free loopback port.

    Parameters
    ----------
    folder : Path
        Where objects are kept, one file each, named by SOP Instance UID.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._entity = AE(ae_title="DEMOPACS")
        for context in AllStoragePresentationContexts:
            self._entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        server = self._entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        assert server is not None
        self._server = server

    @property
    def port(self) -> int:
        """Port it listens on."""
        return int(self._server.server_address[1])

    def path(self, sop_instance_uid: str) -> Path:
        """Return where an object is, once it came."""
        return self._folder / f"{sop_instance_uid}.dcm"

    def names(self) -> dict[str, str]:
        """Return the series description of everything it holds, by SOP Instance UID."""
        found = {}
        for file in sorted(self._folder.glob("*.dcm")):
            header = dcmread(file, stop_before_pixels=True, specific_tags=["SeriesDescription"])
            found[file.stem] = str(header.get("SeriesDescription", ""))
        return found

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _store(self, event: evt.Event) -> int:
        assert isinstance(event.request, C_STORE)
        uid = require_uid(str(event.request.AffectedSOPInstanceUID), "Affected SOP Instance UID")
        part = self.path(uid).with_suffix(".part")
        part.write_bytes(event.encoded_dataset())
        part.rename(self.path(uid))
        return 0x0000
