"""The key of a stage run: equal keys mean equal outputs, so the work need not be done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: JSON values as parameters hold them.
Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageIdentity:
    """What a stage is, apart from its inputs.

    Parameters
    ----------
    stage, kind : str
        Name in the pipeline and kind of work.
    code_version : str
        Version of the code that does this kind of work; raised when its outputs may change.
    model_digest : str
        SHA-256 over weights and model configuration; empty when no model is used.
    parameters : mapping
        Parameters from the pipeline, JSON values only.
    """

    stage: str
    kind: str
    code_version: str
    model_digest: str
    parameters: Mapping[str, Json]


def stage_key(identity: StageIdentity, inputs: Mapping[str, str]) -> str:
    """Hash a stage and the digests of its inputs into its key.

    Parameters
    ----------
    identity : StageIdentity
        The stage.
    inputs : mapping of str to str
        Canonical digest by input name; order does not count.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    return digest_of(
        {
            "stage": identity.stage,
            "kind": identity.kind,
            "code": identity.code_version,
            "model": identity.model_digest,
            "parameters": dict(identity.parameters),
            "inputs": dict(inputs),
        }
    )


def digest_of(value: Json | Mapping[str, object]) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: keys sorted, no spaces, ASCII."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: object) -> bytes:
    """Return the one canonical encoding of a JSON value; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
