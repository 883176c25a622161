"""Writing and reading segmentations of 512 x 512 x 200: ours beside highdicom and dcmqi, in one run.

Every measurement runs in its own process, so that its peak memory is its own. Each tool does the whole of its work from
label array to file and from file to label array: ours `write_seg`, save, `open_seg`, `read_seg`; highdicom
`Segmentation`, save, `segread`, `get_volume`; dcmqi `itkimage2segimage` from NIfTI, `segimage2itkimage --mergeSegments`
to MetaImage, both uncompressed.

    python -m tests.bench.bench_seg [--runs 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tests.bench.row import Row

SHAPE = (200, 512, 512)
SPACING = (1.0, 0.8, 0.8)
CASES = (("BINARY", 1), ("BINARY", 20), ("BINARY", 100), ("LABELMAP", 100))
TOOLS = ("ours", "highdicom", "dcmqi")
_RUNS = 3
_RATIO_BARS = {"dcmqi": 3.0, "highdicom": 1.5}
_LABELMAP_BAR_S = 0.6
_MEMORY_BAR_MB = 1200


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One tool on one case: median seconds, peak memory of its process in MB, size of the file in MB."""

    tool: str
    kind: str
    segments: int
    frames: int
    write_s: float
    read_s: float
    peak_mb: float
    file_mb: float

    @property
    def total_s(self) -> float:
        return self.write_s + self.read_s


def make_labels(count: int):
    """Ellipsoids of organ size all over the volume; later ones lie over earlier ones."""
    rng = np.random.default_rng(3)
    labels = np.zeros(SHAPE, np.uint16)
    for number in range(1, count + 1):
        centre = [int(rng.integers(20, n - 20)) for n in SHAPE]
        radii = (20, 30 + int(rng.integers(0, 20)), 30 + int(rng.integers(0, 20)))
        box = tuple(slice(max(0, c - r), min(n, c + r)) for c, r, n in zip(centre, radii, SHAPE, strict=True))
        index = np.meshgrid(*(np.arange(b.start, b.stop) for b in box), indexing="ij", sparse=True)
        inside = sum(((i - c) / r) ** 2 for i, c, r in zip(index, centre, radii, strict=True)) < 1
        labels[box][inside] = number
    return labels


def timed(action: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    outcome = action()
    return time.perf_counter() - start, outcome


# One process each


def measure_ours(kind: str, labels, sources: list[Path], folder: Path, runs: int) -> dict[str, list[float]]:
    from dicom_sr.seg_open import open_seg
    from dicom_sr.seg_read import read_seg
    from dicom_sr.seg_write import SegKind, write_seg
    from dicom_sr.segmentation import Segmentation
    from dicom_sr.series import read_series
    from tests.support.make_segmentation import make_description, make_segments

    source = read_series(sources)
    segments = make_segments(*(f"Organ {n}" for n in range(1, int(labels.max()) + 1)))
    segmentation = Segmentation.from_labelmap(source.grid, labels, segments)
    description = make_description(segments)
    path = folder / "seg.dcm"

    def write() -> None:
        write_seg(segmentation, source, description, kind=SegKind(kind)).save_as(path, enforce_file_format=True)

    def read() -> object:
        return read_seg(open_seg(path), source)

    found = {"write": [], "read": []}
    for _ in range(runs):
        found["write"].append(timed(write)[0])
        seconds, content = timed(read)
        found["read"].append(seconds)
    for segment in segments[:: max(1, len(segments) // 10)]:
        mask = content.mask(segment.number)
        assert (mask == (labels == segment.number)).all(), "read differs from written"
    return found


def measure_highdicom(kind: str, labels, sources: list[Path], folder: Path, runs: int) -> dict[str, list[float]]:
    import highdicom as hd
    from pydicom import dcmread
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    headers = [dcmread(path, stop_before_pixels=True) for path in sources]
    algorithm = hd.AlgorithmIdentificationSequence("unet-3d", codes.DCM.ArtificialIntelligence, "1.0.0")
    descriptions = [
        hd.seg.SegmentDescription(
            number,
            f"Organ {number}",
            codes.SCT.AnatomicalStructure,
            codes.SCT.Brain,
            hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
        )
        for number in range(1, int(labels.max()) + 1)
    ]
    path = folder / "seg.dcm"

    def write() -> None:
        hd.seg.Segmentation(
            headers,
            labels,
            kind,
            descriptions,
            series_instance_uid="1.2.3",
            series_number=1,
            sop_instance_uid="1.2.3.4",
            instance_number=1,
            manufacturer="m",
            manufacturer_model_name="m",
            software_versions="1",
            device_serial_number="1",
            transfer_syntax_uid=RLELossless if kind == "LABELMAP" else ExplicitVRLittleEndian,
        ).save_as(path)

    def read() -> object:
        return hd.seg.segread(path).get_volume(combine_segments=True, allow_missing_positions=True)

    found = {"write": [], "read": []}
    for _ in range(runs):
        found["write"].append(timed(write)[0])
        found["read"].append(timed(read)[0])
    return found


def measure_dcmqi(kind: str, labels, sources: list[Path], folder: Path, runs: int) -> dict[str, list[float]]:
    from dicom_sr.series import read_series
    from tests.support.dicom_tools import ras_affine

    tools = {name: shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
             for name in ("itkimage2segimage", "segimage2itkimage")}  # fmt: skip
    if not all(tools.values()):
        return {}
    import nibabel as nib

    grid = read_series(sources).grid
    code = {"CodeValue": "12738006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Brain"}
    category = {"CodeValue": "91723000", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"}
    attributes = [
        {
            "labelID": number,
            "SegmentLabel": f"Organ {number}",
            "SegmentAlgorithmType": "MANUAL",
            "SegmentedPropertyCategoryCodeSequence": category,
            "SegmentedPropertyTypeCodeSequence": code,
        }
        for number in range(1, int(labels.max()) + 1)
    ]
    meta = {"SeriesDescription": "x", "SeriesNumber": "1", "InstanceNumber": "1", "ContentCreatorName": "x"}
    (folder / "meta.json").write_text(json.dumps({**meta, "segmentAttributes": [attributes]}))
    nib.save(nib.Nifti1Image(labels.transpose(2, 1, 0), ras_affine(grid)), folder / "labels.nii")
    written = [tools["itkimage2segimage"], "--inputImageList", str(folder / "labels.nii"), "--inputDICOMList"]
    written += [",".join(str(s) for s in sources), "--inputMetadata", str(folder / "meta.json"), "--skip", "1"]
    written += ["--outputDICOM", str(folder / "seg.dcm"), "--segmentationType", kind.lower()]
    read = [
        tools["segimage2itkimage"],
        "--inputDICOM",
        str(folder / "seg.dcm"),
        "--outputDirectory",
        str(folder / "out"),
    ]
    read += ["-t", "mha", "--mergeSegments"]
    (folder / "out").mkdir()

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True)

    found = {"write": [], "read": []}
    for _ in range(runs):
        found["write"].append(timed(lambda: run(written))[0])
        found["read"].append(timed(lambda: run(read))[0])
    return found


MEASURES = {"ours": measure_ours, "highdicom": measure_highdicom, "dcmqi": measure_dcmqi}


def measure_here(tool: str, kind: str, count: int, sources: list[Path], runs: int) -> Measurement | None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = make_labels(count)
        found = MEASURES[tool](kind, labels, sources, folder, runs)
        if not found:
            return None
        from pydicom import dcmread

        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        path = folder / "seg.dcm"
        return Measurement(
            tool=tool,
            kind=kind,
            segments=count,
            frames=int(dcmread(path, specific_tags=["NumberOfFrames"]).NumberOfFrames),
            write_s=statistics.median(found["write"]),
            read_s=statistics.median(found["read"]),
            peak_mb=(children if tool == "dcmqi" else own) / 1024,
            file_mb=path.stat().st_size / 1e6,
        )


# The run


def measure_apart(tool: str, kind: str, count: int, folder: Path, runs: int) -> Measurement | None:
    command = [sys.executable, "-m", "tests.bench.bench_seg", "--one", tool, kind, str(count)]
    command += ["--sources", str(folder), "--runs", str(runs)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        print(f"{tool} {kind} {count}: failed\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    answer = json.loads(done.stdout)
    return Measurement(**answer) if answer else None


def report(measurements: list[Measurement]) -> None:
    print(f"{'case':>14} {'tool':>10} {'frames':>7} {'write s':>8} {'read s':>8} {'sum s':>8} {'MB peak':>8} "
          f"{'MB file':>8} {'ours is':>9}")  # fmt: skip
    for kind, count in CASES:
        rows = {m.tool: m for m in measurements if (m.kind, m.segments) == (kind, count)}
        for tool, m in rows.items():
            faster = f"{m.total_s / rows['ours'].total_s:.1f} x" if tool != "ours" and "ours" in rows else ""
            print(f"{kind + ' ' + str(count):>14} {tool:>10} {m.frames:7d} {m.write_s:8.2f} {m.read_s:8.2f} "
                  f"{m.total_s:8.2f} {m.peak_mb:8.0f} {m.file_mb:8.1f} {faster:>9}")  # fmt: skip


def measure_all(runs: int) -> list[Measurement]:
    """Measure every tool on every case; a tool that is not installed is left out."""
    from tests.support.make_series import make_mr_series

    measurements = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "source"
        make_mr_series(folder, shape=SHAPE, spacing=SPACING, voxels=np.zeros(SHAPE, np.int16))
        for kind, count in CASES:
            for tool in TOOLS:
                found = measure_apart(tool, kind, count, folder, min(runs, 2) if tool == "dcmqi" else runs)
                measurements += [found] if found else []
    return measurements


def run() -> list[Row]:
    """Return ours beside the others: seconds, ratios to each tool, and peak memory."""
    measurements = measure_all(_RUNS)
    rows = []
    for ours in (m for m in measurements if m.tool == "ours"):
        what = f"SEG {ours.kind} {ours.segments} segments, write + read"
        bar = _LABELMAP_BAR_S if ours.kind == "LABELMAP" else None
        rows.append(Row(what=what, value=ours.total_s, unit="s", bar=bar, repetitions=_RUNS))
        others = [m for m in measurements if (m.kind, m.segments) == (ours.kind, ours.segments) and m.tool != "ours"]
        for other in others:
            ratio_bar = _RATIO_BARS[other.tool] if ours.kind == "BINARY" else None
            note = f"{other.tool} {other.total_s:.2f} s in the same run"
            ratio = other.total_s / ours.total_s
            rows.append(Row(what=f"{what}: times faster than {other.tool}", value=ratio, unit="x", bar=ratio_bar,
                            at_least=True, repetitions=_RUNS, note=note))  # fmt: skip
        if ours.segments == max(count for _, count in CASES):
            rows.append(Row(what=f"SEG {ours.kind} {ours.segments} segments, peak memory", value=ours.peak_mb,
                            unit="MB", bar=_MEMORY_BAR_MB))  # fmt: skip
    return rows


def main() -> None:
    """Measure everything and print the table; with --one measure one case in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="repetitions; the median counts (dcmqi: at most two)")
    parser.add_argument("--json", type=Path, help="also write the measurements there")
    parser.add_argument("--one", nargs=3, metavar=("TOOL", "KIND", "SEGMENTS"), help=argparse.SUPPRESS)
    parser.add_argument("--sources", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        tool, kind, count = options.one
        found = measure_here(tool, kind, int(count), sorted(options.sources.iterdir()), options.runs)
        print(json.dumps(asdict(found) if found else None))
        return
    measurements = measure_all(options.runs)
    report(measurements)
    if options.json:
        options.json.write_text(json.dumps([asdict(m) for m in measurements], indent=1))


if __name__ == "__main__":
    main()
