"""Train nnQC on the patients that the second network saw; the checkpoint that paints best on others of them is kept."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.card import read_card, write_card
from models.errors import UnusableVolume
from models.fingerprint import DatasetFingerprint
from models.metrics import dice
from models.registry import ModelCard, find_model
from models.segmentation.cases import LabelledVolume, case_names, read_cases
from models.segmentation_qc.candidates import network_labels
from models.segmentation_qc.evaluate import snapshots
from models.segmentation_qc.nnqc.checkpoint import LoopSettings, start_from
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.examples import known_cases
from models.segmentation_qc.nnqc.paint import DiffusionPainter
from models.segmentation_qc.nnqc.preset import IMPROVED, Preset
from models.segmentation_qc.nnqc.train_autoencoder import AutoencoderSettings, train_autoencoder
from models.segmentation_qc.nnqc.train_diffusion import DiffusionSettings, train_diffusion
from models.segmentation_qc.nnqc.units import UnitPlan, plan_units
from models.segmentation_qc.nnqc.weights import NnqcWeights, read_nnqc, write_nnqc
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import masks_of
from models.segmentation_qc.train import NAME as COMPANION
from models.segmentation_qc.train import TASK, qc_fingerprint
from models.split import Split, person_of, split_patients

_log = logging.getLogger(__name__)

NAME = "hippocampus-nnqc"
_ACCOUNT = {
    "purpose": "Predicts how well a hippocampus segmentation agrees with experts: the QC model named as companion, and "
    "nnQC (latent diffusion) as a further witness. Opt-in: name it as the model of a segmentation_qc stage.",
    "data": "Medical Segmentation Decathlon Task04 Hippocampus (Simpson et al. 2019, arXiv 1902.09063), CC BY-SA 4.0. "
    "nnQC saw the train patients, as the second network and the segmenter did; scores and thresholds come from "
    "qc_train and calibration patients, whom no network saw.",
    "method": "After Marciano et al., IEEE TMI 2026, doi 10.1109/TMI.2026.3714697. Changed: whole volumes instead of "
    "slices, a feature map of the image beside the noisy latent, patch tokens, a gate for each token, candidates "
    "left out in 15 of 100 examples, the clean latent as target, 3 steps. The visual expert is a small network "
    "trained with the rest, not UniMedCLIP.",
    "limits": "Crops of about 35 x 50 x 35 mm around one hippocampus; an image more than 1.5 times as long is refused.",
    "claim": "Research reference model. No clinical claim is made.",
}
_CLASSES = 3
_VALIDATION_SHARE = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class NnqcTrainingSettings:
    """How to train nnQC.

    Parameters
    ----------
    preset : Preset
        Design.
    autoencoder_steps, diffusion_steps : int
        Steps of both stages. With more than before, training goes on from the checkpoints in the working folder; the
        second stage only where the first made no further step.
    minutes : float or None
        Wall-clock limit of both stages together; a fifth goes to the autoencoder.
    seed : int
        Of all randomness.
    threads : int
        CPU threads.
    failures : int
        Real failures kept per training image.
    continued_from : str
        Digest of the weights that training went on from, see `continue_from`; empty: from nothing.
    """

    preset: Preset = IMPROVED
    autoencoder_steps: int = 600
    diffusion_steps: int = 1200
    minutes: float | None = None
    seed: int = 3000
    threads: int = 2
    failures: int = 5
    continued_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained network with what it was trained on, and how well it paints for patients left out of its training.

    Parameters
    ----------
    network : Nnqc
        In evaluation mode.
    plan : UnitPlan
        How images are cut.
    fingerprint : DatasetFingerprint
        Of all images of the split, those left out included.
    steps : tuple of int
        Made in both stages.
    kept_step : int
        Step of the second stage that painted best.
    validation_dice : float
        There: mean Dice of the pseudo ground truth with the experts' mask over `validation_images` and three
        candidates of each: none, a bad one, the experts' own.
    images, validation_images : int
        Trained on, and left out of it.
    """

    network: Nnqc
    plan: UnitPlan
    fingerprint: DatasetFingerprint
    steps: tuple[int, int]
    kept_step: int
    validation_dice: float
    images: int
    validation_images: int


def continue_from(card: ModelCard, work: Path, settings: NnqcTrainingSettings) -> NnqcTrainingSettings:
    """Put the checkpoints of trained weights into `work` and return settings by which the denoiser is trained further.

    The shipped denoiser is in half precision and has no moments: what follows is not what one long training would have
    given, but it is the same every time.

    Parameters
    ----------
    card : ModelCard
        nnQC, with the steps that were made in its card.
    work : Path
        Folder of checkpoints; what it holds of the same steps is replaced.
    settings : NnqcTrainingSettings
        How; its `diffusion_steps` come on top of those made.

    Raises
    ------
    ModelError
        If the weights cannot be read.
    """
    network = read_nnqc(card.folder).network
    first, second = (int(steps) for steps in read_card(card.folder)["training"]["steps_made"])
    start_from(network.autoencoder, work / "autoencoder.safetensors", step=first)
    start_from(network.denoiser, work / f"diffusion-after-{first}.safetensors", step=second)
    return replace(
        settings,
        autoencoder_steps=first,
        diffusion_steps=second + settings.diffusion_steps,
        continued_from=card.digest,
    )


def train_network(data: Path, *, work: Path, failures: Path, settings: NnqcTrainingSettings) -> Trained:
    """Train both stages.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    work : Path
        Folder of the checkpoints; training takes up what it finds there.
    failures : Path
        Folder with the snapshots of undertrained networks; they are trained anew (minutes) if it has none.
    settings : NnqcTrainingSettings
        How.

    Raises
    ------
    ModelError
        If data are missing or unusable, or the checkpoints are of another design.
    """
    torch.set_num_threads(settings.threads)
    labelled, left_out = training_patients(data)
    fingerprint = qc_fingerprint([*labelled, *left_out])
    plan = plan_units(fingerprint, settings.preset, label=HIPPOCAMPUS_PLAN.whole)
    undertrained = snapshots(data, failures)
    known = known_cases(labelled, TASK, plan, undertrained=undertrained, failures=settings.failures, seed=settings.seed)
    torch.manual_seed(settings.seed)
    network = Nnqc(settings.preset, classes=_CLASSES, slice_axis=plan.slice_axis)
    share = None if settings.minutes is None else settings.minutes / 5
    first = train_autoencoder(
        network.autoencoder,
        known,
        settings.preset,
        plan,
        settings=AutoencoderSettings(
            loop=LoopSettings(steps=settings.autoencoder_steps, minutes=share, learning_rate=2e-3, averaging=0.99),
            seed=settings.seed,
        ),
        path=work / "autoencoder.safetensors",
    )
    # A denoiser is of one latent space: with a longer trained autoencoder it starts anew.
    best, checkpoint = (work / f"{name}-after-{first}.safetensors" for name in ("best", "diffusion"))
    keeper = _Keeper(network, plan, left_out, known_bad=undertrained["undertrained"][2], path=best)
    second = train_diffusion(
        network,
        known,
        plan,
        settings=DiffusionSettings(
            loop=LoopSettings(
                steps=settings.diffusion_steps,
                minutes=None if share is None else 4 * share,
                learning_rate=1e-3,
                save_every=100,
            ),
            seed=settings.seed + 1,
        ),
        path=checkpoint,
        on_save=keeper,
    )
    keeper(second, network.denoiser)
    network.load_state_dict(load_file(best))
    return Trained(
        network=network.eval(),
        plan=plan,
        fingerprint=fingerprint,
        steps=(first, second),
        kept_step=keeper.kept_step,
        validation_dice=keeper.best,
        images=len(labelled),
        validation_images=len(left_out),
    )


def training_patients(data: Path) -> tuple[list[LabelledVolume], list[LabelledVolume]]:
    """Return images to train on, and images of other patients of the same split to choose the checkpoint by.

    Raises
    ------
    UnusableVolume
        If either is empty.
    """
    names = split_patients(case_names(data))[Split.TRAIN]
    aside = {name for name in names if _position(person_of(name)) < _VALIDATION_SHARE}
    if not aside or len(aside) == len(names):
        raise UnusableVolume("the folder holds too few patients of the split train")
    both = [list(read_cases(data, [n for n in names if (n in aside) is left_out])) for left_out in (False, True)]
    return both[0], both[1]


def _position(person: str) -> float:
    return int.from_bytes(hashlib.sha256(f"nnqc:{person}".encode()).digest()[:8], "big") / 2.0**64


def _kept_before(path: Path) -> tuple[float, int]:
    """Return Dice and step of the best weights of an interrupted training."""
    if not path.is_file():
        return -1.0, 0
    with safetensors.safe_open(path, framework="pt") as opened:
        found = opened.metadata() or {}
    return float(found.get("dice", -1.0)), int(found.get("step", 0))


class _Keeper:
    """Keeps the weights that paint best for patients left out: the noise's error says little about that."""

    def __init__(
        self, network: Nnqc, plan: UnitPlan, cases: Sequence[LabelledVolume], *, known_bad: nn.Module, path: Path
    ) -> None:
        self._network, self._plan, self._path = network, plan, path
        self._cases = [(case, network_labels(known_bad, case.volume)) for case in cases]
        self.best, self.kept_step = _kept_before(path)

    def __call__(self, step: int, denoiser: nn.Module) -> None:
        """Measure, and keep if better."""
        painter = DiffusionPainter(self._network, self._plan, HIPPOCAMPUS_PLAN, device="cpu")
        found = [self._measure(painter, case, bad) for case, bad in self._cases]
        mean = float(np.mean(found))
        blank, from_bad, perfect = (float(v) for v in np.mean(found, axis=0))
        _log.info("step %d paints %.3f (blank %.3f, bad %.3f, perfect %.3f)", step, mean, blank, from_bad, perfect)
        if mean > self.best:
            self.best, self.kept_step = mean, step
            self._path.parent.mkdir(parents=True, exist_ok=True)
            tensors = {k: v.contiguous().clone() for k, v in self._network.state_dict().items()}
            save_file(tensors, self._path, metadata={"dice": repr(mean), "step": str(step)})
        self._network.autoencoder.eval()
        denoiser.train()

    def _measure(
        self, painter: DiffusionPainter, case: LabelledVolume, bad: npt.NDArray[np.uint8]
    ) -> tuple[float, float, float]:
        whole = HIPPOCAMPUS_PLAN.whole
        expert = case.expert.astype(np.uint8)
        truth = masks_of(expert, HIPPOCAMPUS_PLAN)[whole]
        look = painter.look(case.volume)
        from_bad, perfect = (painter.paint(look, masks_of(c, HIPPOCAMPUS_PLAN)).masks[whole] for c in (bad, expert))
        return dice(look.blank.masks[whole], truth), dice(from_bad, truth), dice(perfect, truth)


def publish(trained: Trained, out: Path, *, settings: NnqcTrainingSettings, companion: str = COMPANION) -> None:
    """Write a trained network with its card, not yet calibrated; it names the QC model it completes.

    Raises
    ------
    ModelNotFound
        If there is no such QC model.
    """
    weights = NnqcWeights(
        network=trained.network, plan=trained.plan, structures=HIPPOCAMPUS_PLAN, fingerprint=trained.fingerprint
    )
    write_nnqc(out, weights)
    base = find_model(companion, (out.parent,))
    write_card(
        out,
        {
            "schema": 1,
            "name": NAME,
            "version": "1.0.0",
            "kind": "segmentation_qc",
            "labels": list(HIPPOCAMPUS_PLAN.labels),
            "needs_region": False,
            **_ACCOUNT,
            "companion": {"name": base.name, "digest": base.digest},
            **weights.as_card(),
            "training": training_account(trained, settings),
        },
    )


def training_account(trained: Trained, settings: NnqcTrainingSettings) -> dict[str, object]:
    """Return what the card says of the training."""
    return {
        "split": str(Split.TRAIN),
        "cases": trained.images,
        "cases_to_choose_the_checkpoint": trained.validation_images,
        "settings": {k: v for k, v in asdict(settings).items() if k != "preset"},
        "steps_made": list(trained.steps),
        "kept_step": trained.kept_step,
        "validation_pseudo_truth_dice": round(trained.validation_dice, 4),
    }
