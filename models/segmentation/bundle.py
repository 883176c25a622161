"""Run a MONAI bundle as a segmenter: its own network, transforms and inferer, offline, without its training machinery.

Used of ``configs/inference.json`` (or ``.yaml``): ``network_def`` (or ``network``), ``preprocessing``, ``inferer``,
``postprocessing``. Weights are taken from ``models/model.safetensors``, ``models/model.pt`` (tensors only, never
unpickled objects) or ``models/model.ts`` (TorchScript), in this order.

References
----------
MONAI Bundle Specification, https://docs.monai.io/en/stable/bundle_intro.html
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import decollate_batch, list_data_collate
from monai.inferers.inferer import SimpleInferer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from safetensors.torch import load_file

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Grid, Volume
from models.errors import InvalidModel, ModelError, UnsuitableAnswer, UntrustedBundle
from models.nifti import grid_of_ras, write_nifti
from models.preprocess import check_usable
from models.registry import ModelCard
from models.segmentation.bundle_trust import check_trust, needed_part
from models.segmentation.regrid import labels_on_grid
from models.segmentation.segmenter import SegmentationResult, check_region

_NETWORK_KEYS = ("network_def", "network")
_CONFIG_FILES = ("inference.json", "inference.yaml", "inference.yml")
_OWN_KEYS = {"bundle_root", "device", "output_dir", "dataset_dir"}


class BundleSegmenter:
    """A MONAI bundle.

    Parameters
    ----------
    card : ModelCard
        Card of kind ``bundle``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    trusted : bool
        Whether an administrator vouches for the bundle's code; then its expressions and scripts run unchecked and the
        whole configuration is used, imports included. Pickled weights are refused all the same.

    Raises
    ------
    UntrustedBundle
        If it would run code that is not on the list, or its weights are pickled objects.
    InvalidModel
        If a file or an entry is missing or damaged.
    """

    def __init__(self, card: ModelCard, *, device: str = "auto", trusted: bool = False) -> None:
        self.digest = card.digest
        self.card = card
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(chosen if device == "auto" else device)
        parser = _parser(card.folder, self._device, trusted=trusted)
        self._network = _network(parser, card.folder).to(self._device).eval()
        self._preprocessing = _content(parser, "preprocessing")
        self._postprocessing = _content(parser, "postprocessing", needed=False)
        self._image_key = str(_content(parser, "image_key", needed=False) or "image")
        self._inferer = _content(parser, "inferer", needed=False) or SimpleInferer()

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image; see `models.segmentation.segmenter.Segmenter`."""
        check_region(region, volume.grid, needed=False)
        check_usable(volume)
        try:
            prediction = self._predict(volume)
        except (ModelError, MemoryError):
            raise
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise UnsuitableAnswer(
                f"the bundle '{self.card.name}' failed on this image ({type(error).__name__})"
            ) from error
        return _result(prediction, volume.grid, len(self.card.labels))

    def _predict(self, volume: Volume) -> MetaTensor:
        with tempfile.TemporaryDirectory(prefix="overread-bundle-") as name, torch.inference_mode(), _quiet():
            path = Path(name) / "image.nii.gz"
            write_nifti(path, volume.grid, volume.voxels)
            batch = list_data_collate([self._preprocessing({self._image_key: str(path)})])
            batch["pred"] = self._inferer(batch[self._image_key].to(self._device), self._network)
            answer = decollate_batch(batch)[0]
            if self._postprocessing is not None:
                answer = self._postprocessing(answer)
        prediction = answer["pred"]
        if not isinstance(prediction, MetaTensor):
            raise UnsuitableAnswer("the bundle's answer has lost its geometry")
        return prediction


def _parser(folder: Path, device: torch.device, *, trusted: bool) -> ConfigParser:
    path = next((folder / "configs" / name for name in _CONFIG_FILES if (folder / "configs" / name).is_file()), None)
    if path is None:
        raise InvalidModel("the bundle has no configs/inference.json or .yaml")
    config = {**_read_config(path), "bundle_root": str(folder), "device": str(device)}
    _drop_writers(config)
    if not trusted:
        config = needed_part(config, (*_NETWORK_KEYS, "preprocessing", "inferer", "postprocessing"))
        check_trust({key: value for key, value in config.items() if key not in _OWN_KEYS})
    if trusted and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    parser = ConfigParser(config)
    if trusted:
        _content(parser, "imports", needed=False)
    return parser


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text) if path.suffix == ".json" else YAML(typ="safe", pure=True).load(text)
    except (OSError, ValueError, YAMLError) as error:
        raise InvalidModel(f"{path.name} of the bundle is not readable") from error
    if not isinstance(config, dict):
        raise InvalidModel(f"{path.name} of the bundle is not a table")
    return config


def _drop_writers(config: dict[str, Any]) -> None:
    """Take out what would write the answer to disk."""
    post = config.get("postprocessing")
    if isinstance(post, dict) and isinstance(post.get("transforms"), list):
        kept = [t for t in post["transforms"] if "SaveImage" not in str(_target(t))]
        config["postprocessing"] = {**post, "transforms": kept}


def _target(entry: Any) -> Any:
    return entry.get("_target_", "") if isinstance(entry, dict) else ""


def _content(parser: ConfigParser, key: str, *, needed: bool = True) -> Any:
    if key not in parser:
        if needed:
            raise InvalidModel(f"the bundle's inference configuration has no '{key}'")
        return None
    try:
        with _quiet():
            return parser.get_parsed_content(key)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, ImportError, ModuleNotFoundError) as error:
        raise InvalidModel(f"'{key}' of the bundle cannot be built ({type(error).__name__})") from error


def _network(parser: ConfigParser, folder: Path) -> torch.nn.Module:
    models = folder / "models"
    if (models / "model.safetensors").is_file():
        return _filled(parser, load_file(models / "model.safetensors"))
    if (models / "model.pt").is_file():
        return _filled(parser, _unpickled_tensors(models / "model.pt"))
    if (models / "model.ts").is_file():
        try:
            scripted: torch.nn.Module = torch.jit.load(str(models / "model.ts"), map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise InvalidModel("models/model.ts of the bundle is not TorchScript") from error
        return scripted
    raise InvalidModel("the bundle's weights are missing: models/model.safetensors, model.pt or model.ts")


def _unpickled_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UntrustedBundle("models/model.pt holds pickled objects; convert it to model.safetensors") from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise InvalidModel("models/model.pt of the bundle is damaged") from error
    for wrapped in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapped), dict):
            content = content[wrapped]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InvalidModel("models/model.pt of the bundle is not a table of tensors")
    return content


def _filled(parser: ConfigParser, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    key = next((key for key in _NETWORK_KEYS if key in parser), _NETWORK_KEYS[0])
    network = _content(parser, key)
    if not isinstance(network, torch.nn.Module):
        raise InvalidModel(f"'{key}' of the bundle is not a network")
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise InvalidModel("the bundle's weights are not those of its network") from error
    return network


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep MONAI's warnings, which concern its optional parts and may quote values, out of the logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _result(prediction: MetaTensor, asked: Grid, label_count: int) -> SegmentationResult:
    """Read an answer (channel, x, y, z): one channel of label values, or one channel per class or per label."""
    values: npt.NDArray[np.float64] = prediction.as_tensor().detach().cpu().double().numpy()
    if values.ndim != 4:
        raise UnsuitableAnswer(f"the bundle's answer has {values.ndim} axes; channel, x, y, z are needed")
    channels = values.transpose(0, 3, 2, 1)
    answer = _grid(prediction)
    if len(channels) == label_count and (label_count > 1 or not _is_integral(channels)):
        return _from_masks([labels_on_grid(answer, mask, asked) > 0 for mask in channels > 0.5])
    if len(channels) == 1:
        placed = labels_on_grid(answer, channels[0], asked)
    elif len(channels) == label_count + 1:
        placed = labels_on_grid(answer, channels.argmax(axis=0), asked)
    else:
        raise UnsuitableAnswer(f"the bundle's answer has {len(channels)} channels for {label_count} labels")
    if placed.max(initial=0) > label_count:
        raise UnsuitableAnswer("the bundle answered with a label that its metadata does not name")
    return SegmentationResult(labels=placed, agreement={})


def _from_masks(masks: list[Mask]) -> SegmentationResult:
    labels = np.zeros(masks[0].shape, np.uint16)
    for value, mask in enumerate(masks, start=1):
        labels[mask] = value
    overlap = np.sum(masks, axis=0).max(initial=0) > 1
    named = dict(enumerate(masks, start=1)) if overlap else None
    return SegmentationResult(labels=labels, agreement={}, masks=named)


def _is_integral(values: npt.NDArray[np.float64]) -> bool:
    return bool(np.array_equal(values, np.round(values)))


def _grid(prediction: MetaTensor) -> Grid:
    affine = np.asarray(prediction.affine.cpu().numpy(), np.float64)
    x, y, z = (int(n) for n in prediction.shape[1:])
    return grid_of_ras(affine, (z, y, x))
