"""Passwords stand in files, never in the configuration."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.errors import ConfigurationError


def read_password(path: Path | None, what: str) -> str:
    """Return the password in a file, without the line end; empty without a file.

    Parameters
    ----------
    path : Path or None
        From the configuration.
    what : str
        Whose it is, for the message.

    Raises
    ------
    ConfigurationError
        If the file cannot be read.
    """
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"the password file of {what} cannot be read: {path}") from None
