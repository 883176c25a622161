"""MONAI bundles run as they are published, offline; what is missing or unsafe is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dicom_sr.volume import Grid, Volume
from models.errors import InvalidModel, TamperedWeights, UnsuitableAnswer, UntrustedBundle
from models.phantom import hippocampus_phantom
from models.registry import find_model
from models.segmentation.segmenter import load_segmenter

VOLUME, _ = hippocampus_phantom(0)
NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [2, 2],
    "strides": [1],
    "num_res_units": 0,
    "norm": None,
}
INFERENCE: dict[str, Any] = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": "/workspace/bundle",
    "output_dir": "$@bundle_root + '/eval'",
    "dataset_dir": "/workspace/data",
    "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "LPI", "labels": None},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 800, "b_min": 0, "b_max": 1},
        ],
    },
    "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "sw_batch_size": 2, "overlap": 0.25},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
                "nearest_interp": False,
                "to_tensor": True,
            },
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "meta_keys": "pred_meta_dict", "output_dir": "@output_dir"},
        ],
    },
    "checkpointloader": {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"},
    "run": ["$@evaluator.run()"],
}
METADATA = {
    "version": "0.3.1",
    "name": "Bright tissue",
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "Bright"}}}},
}
Change = Callable[[dict[str, Any]], None]


class Threshold(torch.nn.Module):
    """Stands for a trained network: class 1 where the intensity is above 0.9."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([(0.9 - images) * 50, (images - 0.9) * 50], dim=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _bundle(folder: Path, change: Change = lambda config: None, *, weights: str = "ts") -> Path:
    """Make a bundle by code, as published ones are laid out."""
    config = json.loads(json.dumps(INFERENCE))
    change(config)
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    if weights == "ts":
        torch.jit.script(Threshold()).save(str(folder / "models" / "model.ts"))
    elif weights in ("pt", "safetensors"):
        from monai.networks.nets.unet import UNet

        torch.manual_seed(0)
        network = UNet(**{key: value for key, value in NETWORK.items() if key != "_target_"})
        if weights == "pt":
            torch.save({"state_dict": network.state_dict()}, folder / "models" / "model.pt")
        else:
            save_file(network.state_dict(), folder / "models" / "model.safetensors")
    return folder


def _segment(folder: Path, volume: Volume = VOLUME, *, trusted: bool = False) -> np.ndarray:
    return load_segmenter(find_model(str(folder)), device="cpu", trusted=trusted).segment(volume).labels


def test_a_bundle_as_published_runs_and_answers_on_the_grid_of_the_image(tmp_path: Path) -> None:
    folder = _bundle(tmp_path / "b")
    card = find_model(str(folder))
    assert (card.kind, card.name, card.version, card.labels) == ("bundle", "Bright-tissue", "0.3.1", ("Bright",))
    labels = _segment(folder)
    np.testing.assert_array_equal(labels, (VOLUME.voxels > 720).astype(np.uint16))
    assert not (folder / "eval").exists()


def test_an_image_of_other_orientation_and_spacing_comes_back_to_its_own_grid(tmp_path: Path) -> None:
    affine = VOLUME.grid.affine[:, [2, 0, 1, 3]] * np.array([-2.0, 1.5, 1.0, 1.0])
    voxels = np.ascontiguousarray(VOLUME.voxels.transpose(2, 0, 1))
    depth, height, width = voxels.shape
    volume = Volume(grid=Grid(shape=(depth, height, width), affine=affine), voxels=voxels, modality="MR")
    labels = _segment(_bundle(tmp_path / "b"), volume)
    assert labels.shape == voxels.shape
    assert ((labels == 1) == (voxels > 720)).mean() > 0.9


def test_a_bundle_without_inversion_is_placed_by_its_geometry(tmp_path: Path) -> None:
    def without_inversion(config: dict[str, Any]) -> None:
        del config["postprocessing"]["transforms"][1]

    np.testing.assert_array_equal(_segment(_bundle(tmp_path / "b", without_inversion)), VOLUME.voxels > 720)


@pytest.mark.parametrize("weights", ["pt", "safetensors"])
def test_tensors_are_loaded_into_the_network_of_the_bundle(tmp_path: Path, weights: str) -> None:
    labels = _segment(_bundle(tmp_path / weights, weights=weights))
    assert set(np.unique(labels)) <= {0, 1}


def test_both_forms_of_the_same_tensors_answer_alike(tmp_path: Path) -> None:
    answers = [_segment(_bundle(tmp_path / weights, weights=weights)) for weights in ("pt", "safetensors")]
    np.testing.assert_array_equal(answers[0], answers[1])


def test_an_image_may_go_by_another_key(tmp_path: Path) -> None:
    def renamed(config: dict[str, Any]) -> None:
        config["image_key"] = "scan"
        for part in ("preprocessing", "postprocessing"):
            for transform in config[part]["transforms"]:
                for key in ("keys", "orig_keys"):
                    if transform.get(key) == "image":
                        transform[key] = "@image_key"

    np.testing.assert_array_equal(_segment(_bundle(tmp_path / "b", renamed)), VOLUME.voxels > 720)


def test_a_yaml_configuration_works_too(tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    folder = _bundle(tmp_path / "b")
    with (folder / "configs" / "inference.yaml").open("w") as stream:
        YAML().dump(json.loads((folder / "configs" / "inference.json").read_text()), stream)
    (folder / "configs" / "inference.json").unlink()
    np.testing.assert_array_equal(_segment(folder), VOLUME.voxels > 720)


@pytest.mark.parametrize(
    ("name", "text"), [("inference.json", "{"), ("inference.json", "[]"), ("inference.yaml", "a: [")]
)
def test_a_broken_configuration_is_named(tmp_path: Path, name: str, text: str) -> None:
    folder = _bundle(tmp_path / "b")
    (folder / "configs" / "inference.json").unlink()
    (folder / "configs" / name).write_text(text)
    with pytest.raises(InvalidModel, match=name):
        _segment(folder)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="weights are missing"):
        _segment(_bundle(tmp_path / "b", weights="none"))


def test_pickled_objects_are_never_loaded_not_even_when_trusted(tmp_path: Path) -> None:
    folder = _bundle(tmp_path / "b", weights="none")
    torch.save(Threshold(), folder / "models" / "model.pt")
    for trusted in (False, True):
        with pytest.raises(UntrustedBundle, match="safetensors"):
            _segment(folder, trusted=trusted)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    folder = _bundle(tmp_path / "b", weights="none")
    save_file({"x": torch.zeros(1)}, folder / "models" / "model.safetensors")
    with pytest.raises(InvalidModel, match="not those of its network"):
        _segment(folder)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder = _bundle(tmp_path / "b", weights="none")
    (folder / "models" / "model.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InvalidModel, match="damaged"):
        _segment(folder)


@pytest.mark.parametrize("key", ["preprocessing", "network_def"])
def test_a_missing_entry_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidModel, match=f"no '{key}'"):
        _segment(_bundle(tmp_path / "b", lambda config: [config.pop(k, None) for k in (key, "network")], weights="pt"))


def test_a_bundle_without_metadata_is_refused(tmp_path: Path) -> None:
    folder = _bundle(tmp_path / "b")
    (folder / "configs" / "metadata.json").unlink()
    with pytest.raises(InvalidModel, match="channels"):
        find_model(str(folder))


def test_a_bundle_changed_after_it_was_found_is_refused(tmp_path: Path) -> None:
    folder = _bundle(tmp_path / "b")
    card = find_model(str(folder))
    (folder / "configs" / "inference.json").write_text("{}")
    with pytest.raises(TamperedWeights):
        load_segmenter(card)


HARMFUL = [
    "$__import__('os').system('touch MARK')",
    "$os.system('touch MARK')",
    "$import os",
    "$open('MARK', 'w')",
    "$eval('1')",
    "$torch.load('x.pt', weights_only=False)",
    "$torch.hub.load('a', 'b')",
    "$max(['x.pt'], key=torch.load)",
    "$(lambda f: f('x'))(torch.load)",
    "$[f('x') for f in [torch.load]]",
    "$(lambda t: t.hub)(torch)",
    "$().__class__.__mro__[1].__subclasses__()",
    "$monai.bundle.run()",
    "$np.load('x', allow_pickle=True)",
    "%/etc/passwd",
]


@pytest.mark.parametrize("expression", HARMFUL)
def test_code_that_nobody_approved_is_refused(tmp_path: Path, expression: str) -> None:
    def harm(config: dict[str, Any]) -> None:
        config["preprocessing"]["transforms"][4]["a_max"] = expression.replace("MARK", str(tmp_path / "mark"))

    with pytest.raises(UntrustedBundle):
        _segment(_bundle(tmp_path / "b", harm))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "subprocess.run", "torch.load", "scripts.net.Net", "monai.bundle.run",
     "download_url", "SaveImaged", "monai.apps.DecathlonDataset", "CheckpointLoader"],
)  # fmt: skip
def test_only_networks_transforms_and_inferers_are_built(tmp_path: Path, target: str) -> None:
    def harm(config: dict[str, Any]) -> None:
        config["preprocessing"]["transforms"].append({"_target_": target, "keys": "image"})

    with pytest.raises(UntrustedBundle, match="builds"):
        _segment(_bundle(tmp_path / "b", harm))


@pytest.mark.parametrize("key", ["pretrained", "_mode_"])
def test_a_network_that_would_fetch_weights_or_stop_in_a_debugger_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(UntrustedBundle, match=key):
        _segment(_bundle(tmp_path / "b", lambda config: config["network_def"].update({key: "debug"}), weights="pt"))


PLAIN = [
    "$lambda x: x.float()",
    "$float(3) + 2",
    "$numpy.float32",
    "$[1, 2][0]",
    "$@device",
    "$[1.5, 1.5, 1.5] if @displayed#fine else [3.0, 3.0, 3.0]",
    "$@bundle_root + '/models/' + @name",
    "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, 0))",
    "$@network_def.to(@device)",
]


@pytest.mark.parametrize("expression", PLAIN)
def test_plain_expressions_are_not_refused(expression: str) -> None:
    from models.segmentation.bundle_trust import check_trust

    check_trust({"a": {"b": [expression]}})


def test_code_of_a_trusted_bundle_runs(tmp_path: Path) -> None:
    def needs_trust(config: dict[str, Any]) -> None:
        config["preprocessing"]["transforms"][4]["a_max"] = "$int(os.path.basename('800'))"

    folder = _bundle(tmp_path / "b", needs_trust)
    with pytest.raises(UntrustedBundle):
        _segment(folder)
    np.testing.assert_array_equal(_segment(folder, trusted=True), VOLUME.voxels > 720)


def test_an_answer_with_unnamed_labels_is_refused(tmp_path: Path) -> None:
    class Three(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([images * 0, images * 0, images * 0, images], dim=1)

    folder = _bundle(tmp_path / "b", weights="none")
    torch.jit.script(Three()).save(str(folder / "models" / "model.ts"))
    with pytest.raises(UnsuitableAnswer, match="not name"):
        _segment(folder)


def test_labels_that_overlap_come_back_as_masks(tmp_path: Path) -> None:
    class Nested(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([images > 0.5, images > 0.9], dim=1).float()

    def sigmoid(config: dict[str, Any]) -> None:
        config["postprocessing"]["transforms"] = []

    folder = _bundle(tmp_path / "b", sigmoid, weights="none")
    torch.jit.script(Nested()).save(str(folder / "models" / "model.ts"))
    named = {**METADATA, "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "Tissue", "1": "White"}}}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(named))
    result = load_segmenter(find_model(str(folder)), device="cpu").segment(VOLUME)
    assert result.masks is not None
    np.testing.assert_array_equal(result.masks[1], VOLUME.voxels > 400)
    np.testing.assert_array_equal(result.masks[2], VOLUME.voxels > 720)
