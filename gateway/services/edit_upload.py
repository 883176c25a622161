"""Edits handed in with their case named: the stage they need, and the label maps that are no DICOM objects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.services.accept_edit import handle_file
from gateway.services.edit_object import EditFormat, EditObject, file_uid
from gateway.services.edit_target import require_named_stage, require_target
from gateway.services.environment import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class EditUploads:
    """What the upload door of a case needs beyond the receiver of DICOM instances.

    Parameters
    ----------
    env : Environment
        The gateway.
    on_settled : callable
        Called when a label map was matched: an iteration may wait to run.
    """

    env: Environment
    on_settled: Callable[[], None]

    def require_stage(self, case_id: str, stage: str, *, what: str = "") -> None:
        """Check the stage that a request names; with `what`, the kind of object, it must name one.

        Raises
        ------
        NotFound
            If the case has no such editable stage.
        UnacceptableInstance
            ``STAGE_NOT_NAMED``.
        """
        if what:
            require_named_stage(self.env, case_id, stage, what=what)
        elif stage:
            require_target(self.env, case_id, stage)

    def take_label_map(self, path: Path, *, case_id: str, stage: str, sender: str) -> str:
        """Take a NIfTI label map as an edit and return the UID under which it is on record.

        Raises
        ------
        NotFound, UnacceptableInstance
            As `require_stage`; nothing was kept.
        DicomObjectError
            If it is no label map, lies on another grid than the images, or has labels of no segment; nothing was kept.
        StorageFull, StorageUnavailable
            It cannot be kept now.
        """
        case = require_named_stage(self.env, case_id, stage, what="a NIfTI file")
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        edit = EditObject(
            sop_instance_uid=file_uid(sha256, case_id, stage),
            series_instance_uid="",
            study_instance_uid=case.study_instance_uid,
            sha256=sha256,
            format=EditFormat.NIFTI,
            sender=sender,
            door="upload",
            case_hint=case_id,
            stage_hint=stage,
        )
        handle_file(self.env, edit, content)
        self.on_settled()
        return edit.sop_instance_uid
