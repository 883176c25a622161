"""pynetdicom's process-wide settings as a node that keeps patient data out of its logs needs them."""

from __future__ import annotations

import logging

from pynetdicom import _config


def quiet_pynetdicom() -> None:
    """Stop pynetdicom from logging identifiers, data sets and every PDU; call before any association."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    # Its error messages quote exceptions, and those quote values. What matters is logged by us, in our words.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
