"""Where pynetdicom's thread of an association stands still while another thread converses on that association.

A thread that sends a request clears pynetdicom's event, looks whether the association's own thread says that it is
paused, sends, and takes the next message for its answer. The association's thread says so before it looks at the event,
so it may have passed the event already: it then takes the answer, which nobody asked it for, and the asker waits half a
minute in vain. It happens now and then while all processors are busy.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynetdicom.association import Association


class ReactorCheckpoint:
    """Stands in for the `threading.Event` of an association; closing it waits until the association's thread stands.

    Parameters
    ----------
    association : Association
        Its thread waits here between two messages, and converses itself without closing it.
    """

    def __init__(self, association: Association) -> None:
        self._association = association
        self._changed = threading.Condition()
        self._is_open = True
        self._stands = False

    def wait(self) -> None:
        """Stand here until it is open; called by the association's thread."""
        with self._changed:
            self._stands = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open)
            self._stands = False

    def set(self) -> None:
        """Open it; the association's own thread, which opens it after each request of its own, has not closed it."""
        if threading.current_thread() is self._association:
            return
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Close it, and wait until the association's thread stands here, has ended or is to end."""
        if threading.current_thread() is self._association:
            return
        with self._changed:
            self._is_open = False
            while not self._stands and self._association.is_alive() and not self._association._kill:
                self._changed.wait(0.05)


def guard_conversations(association: Association) -> None:
    """Let no thread converse on an association before the association's own thread stands still."""
    association._reactor_checkpoint = ReactorCheckpoint(association)  # type: ignore[assignment]
