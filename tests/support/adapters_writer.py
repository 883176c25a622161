"""Segmentations written by @cornerstonejs/adapters, the library in OHIF, of several lines; under Node, no browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_sr.segmentation import Mask

_SCRIPT = Path(__file__).with_name("adapters") / "write_seg.mjs"
#: Lines in use in viewers, newest first.
VERSIONS = ("5.14.0", "5.6.8", "4.19.0", "3.33.5")


@dataclass(frozen=True, kw_only=True)
class AdapterRequest:
    """One object to write.

    Parameters
    ----------
    sources : sequence of pathlib.Path
        Source images in the order of the caller's stack.
    labelmaps : sequence of mapping of str to array
        Masks by label, (z, y, x) in the order of `sources`; one mapping for each label map (overlap needs several).
    numbers : mapping of str to int
        Segment index of each label.
    options : mapping
        Options of generateSegmentation.
    predecessor : mapping or None
        What the viewer knows of the object it edits, as naturalised attributes.
    """

    sources: Sequence[Path]
    labelmaps: Sequence[Mapping[str, Mask]]
    numbers: Mapping[str, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    predecessor: Mapping[str, Any] | None = None


def install_adapters(version: str) -> Path:
    """Install one line of the adapters from npm into the cache outside the repository, or skip the calling test."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and Node are not installed: the cornerstone adapters cannot be run")
    cache = Path(os.environ.get("OVERREAD_CACHE", Path.home() / ".cache" / "overread"))
    folder = cache / "adapters" / version
    if (folder / "installed").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    packages = [f"@cornerstonejs/adapters@{version}", "@babel/runtime"]
    flags = ["--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    done = subprocess.run(
        ["npm", "install", *flags, *packages], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    if done.returncode:
        pytest.skip(f"npm cannot install @cornerstonejs/adapters {version}: {done.stderr.strip()[-200:]}")
    (folder / "installed").touch()
    return folder


def write_with_adapters(version: str, requests: Mapping[str, AdapterRequest], folder: Path) -> dict[str, bytes | str]:
    """Write every request in one Node process.

    Returns
    -------
    dict of str to bytes or str
        By the name of the request: the file, or the message with which the adapters refused to write it.
    """
    installed = install_adapters(version)
    folder.mkdir(parents=True, exist_ok=True)
    listed = [_request(name, request, folder) for name, request in requests.items()]
    (folder / "requests.json").write_text(json.dumps({"folder": str(installed), "requests": listed}))
    done = subprocess.run(
        ["node", str(_SCRIPT), str(folder / "requests.json")], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    written: dict[str, bytes | str] = {}
    for name in requests:
        refused = folder / f"{name}.dcm.refused"
        written[name] = refused.read_text() if refused.exists() else (folder / f"{name}.dcm").read_bytes()
    return written


def _request(name: str, request: AdapterRequest, folder: Path) -> dict[str, Any]:
    volumes = []
    for i, masks in enumerate(request.labelmaps):
        first = next(iter(masks.values()))
        labels = np.zeros(first.shape, np.uint8)
        for label, mask in masks.items():
            labels[mask] = request.numbers[label]
        file = folder / f"{name}-{i}.labels"
        file.write_bytes(labels.tobytes())
        segments = [{"number": request.numbers[label], "label": label} for label in masks]
        volumes.append({"file": str(file), "segments": segments})
    return {
        "sources": [str(path) for path in request.sources],
        "labelmaps": volumes,
        "options": dict(request.options),
        "predecessor": request.predecessor,
        "output": str(folder / f"{name}.dcm"),
    }
