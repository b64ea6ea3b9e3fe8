"""Everything from a training file to a folder of weights: examples, masked, reading, identity, latent, drawing, the model.

Each stage starts from what the one before left on disk, whether that was a moment ago or last week: so a training that was
stopped at any point and one that was not are the same.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from normpipe.errors import ModelUnavailableError, UsageError

try:
    import torch
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
    from safetensors import SafetensorError
except ImportError as error:
    raise ModelUnavailableError("training needs torch, diffusers and accelerate: pip install 'normpipe[train]'") from error

from torch import nn

from normpipe.batches import Floats
from normpipe.engine.lock import locked
from normpipe.normalizers.mean_face.model import load_model
from normpipe.normalizers.norface.generation import FlowDecoder
from normpipe.normalizers.norface.pipeline import NorfacePipeline
from normpipe.shards.atomic import write_bytes
from normpipe.synthetic.heads import HeadRig
from normpipe.training.accelerator import new_accelerator
from normpipe.training.begun import begin
from normpipe.training.checkpoints import CHECKPOINTS_FOLDER, loaded, write_tensors
from normpipe.training.norface.build import Part, build_examples, plan_parts
from normpipe.training.norface.card import model_card
from normpipe.training.norface.config import Latent, Stage, Training
from normpipe.training.norface.drawer import Drawer
from normpipe.training.norface.drawing import DrawingLosses, DrawingTrainee, sample_sheet
from normpipe.training.norface.examples import ExampleSet, Kind, read_examples
from normpipe.training.norface.expected import fit_expected
from normpipe.training.norface.flow import FlowLosses, FlowTrainee
from normpipe.training.norface.identity import IdentityLosses, IdentityNet, IdentityTrainee, several_of_each
from normpipe.training.norface.latent import LatentLosses, LatentTrainee, fit_latents
from normpipe.training.norface.loop import Directions, Trainee, seed_of, train
from normpipe.training.norface.masked import MaskedLosses, MaskedTrainee
from normpipe.training.norface.network import new_network
from normpipe.training.norface.painted import PaintedSet
from normpipe.training.norface.reading import ReadingLosses, ReadingTrainee, measured, read_expressions, spreads
from normpipe.training.norface.rig_mesh import RigMesh
from normpipe.training.norface.stages import (
    DRAWING,
    IDENTITY,
    LATENT,
    MASKED,
    READING,
    RESULT_FILE,
    STAGE_FILE,
    refuse_others,
    stage_fingerprints,
)
from normpipe.training.norface.targets import STRENGTHS, TargetSet, build_targets, drawn_evenly, read_targets
from normpipe.training.norface.teacher import Layers, Teacher

EXAMPLES_FOLDER = "examples"
TARGETS_FOLDER = "targets"
SAMPLES_FOLDER = "samples"
MODEL_FOLDER = "model"
CARD_FILE = "README.md"
_EXPRESSIONS_FILE = "expressions.safetensors"
_EXPRESSIONS = "expressions"
_PATIENCE = timedelta(days=14)  # ranks wait while the first one makes examples

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Means:
    """With what to train; decides about no weight but by rounding.

    Attributes:
        device: `cpu` or `cuda`.
        workers: Processes that make examples and targets.
        watch: Told what happens, a line each time.
    """

    device: str
    workers: int
    watch: Callable[[str], None]


def train_norface(training: Training, out: Path, means: Means) -> Path:
    """Train a network, or go on with it; what is done is not done again.

    Started by several ranks (`accelerate launch`, `torchrun`), each of them calls this.

    Args:
        training: Of what, on what, how long.
        out: Folder of all that belongs to the training.
        means: With what.

    Returns:
        OUT/model, which `NorfacePipeline.from_pretrained` loads.

    Raises:
        ModelUnavailableError: there is no CUDA device.
        IncompatibleRunError: a stage in OUT was begun under another configuration, or another training is writing there.
        UsageError: examples cannot be made of what the file names, a file in OUT is damaged, or losses are no numbers any more.
        NormpipeError: a process died.
    """
    accelerator = new_accelerator(training.precision, means.device, _PATIENCE)
    parts = plan_parts(training.examples)  # before OUT is made: a file that names no runs leaves nothing behind
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(locked(out))
        return _Training(training, out, means, accelerator, parts).done()


class _Training:
    """One training in its folder."""

    def __init__(self, training: Training, out: Path, means: Means, accelerator: Accelerator, parts: Sequence[Part]) -> None:
        self._training = training
        self._out = out
        self._means = means
        self._accelerator = accelerator
        self._main = bool(accelerator.is_main_process)
        self._parts = parts
        self._stages = stage_fingerprints(training, parts)
        refuse_others(out, self._stages)

    def done(self) -> Path:
        """All stages, in order."""
        training = self._training
        examples = self._examples()
        network = new_network(training)
        trained = {}
        if training.masked is not None:
            guesses = self._new(MASKED, lambda: MaskedLosses(network.encoder))
            trained[MASKED] = self._stage(MASKED, training.masked, MaskedTrainee(guesses, examples, training.masked.hidden))
        people = len(np.unique(examples.people))
        reader = self._new(READING, lambda: ReadingLosses(network.encoder, network.merger, training.reading, people))
        trainee = ReadingTrainee(reader, examples)
        trained[READING] = self._stage(READING, training.reading, trainee)
        free, own = self._expressions(network, examples), measured(examples)
        real = examples.kinds != Kind.HEAD
        fit_expected(network.merger, free[real], own[real])
        self._fit_layout(network, examples)
        identity = None
        if training.identity is not None:
            section = training.identity
            count = len(np.unique(several_of_each(examples.people)[1]))
            knower = self._new(IDENTITY, lambda: IdentityLosses(IdentityNet(section.dim), count))
            trained[IDENTITY] = self._stage(IDENTITY, section, IdentityTrainee(knower, examples))
            identity = knower.net
        trained |= self._drawing(network, examples, (free, own), identity)
        return self._model(network, examples, trained)

    def _examples(self) -> ExampleSet:
        folder = self._out / EXAMPLES_FOLDER
        if self._main:
            build_examples(self._training.examples, folder, self._means.workers, self._counts(EXAMPLES_FOLDER))
        self._accelerator.wait_for_everyone()
        return read_examples([folder / part.name for part in self._parts])

    def _expressions(self, network: NorfacePipeline, examples: ExampleSet) -> Floats:
        """(n, 57) float32 free parts of all examples' codes: read once, by the first rank."""
        file = self._out / READING / _EXPRESSIONS_FILE
        if self._main and not file.exists():
            self._means.watch("reading all examples")
            device = self._accelerator.device
            network.to(device)
            found = read_expressions(network.encoder, network.merger, examples, device)
            network.to("cpu")
            write_tensors(file, {_EXPRESSIONS: torch.from_numpy(found)})
        self._accelerator.wait_for_everyone()
        free: Floats = loaded(file)[_EXPRESSIONS].numpy()
        return free

    def _fit_layout(self, network: NorfacePipeline, examples: ExampleSet) -> None:
        rig = self._training.examples.rig
        network.layout.spread.copy_(torch.from_numpy(spreads(examples)))
        if rig is not None:
            network.layout.rig_offsets.copy_(torch.from_numpy(RigMesh.of(HeadRig.load(Path(rig))).offsets))

    def _drawing(
        self, network: NorfacePipeline, examples: ExampleSet, codes: tuple[Floats, Floats], identity: IdentityNet | None
    ) -> dict[str, Path]:
        """All that is learnt behind the code."""
        section, latent, stages = self._training.drawing, self._training.latent, {}
        teacher = Teacher(load_model(), network.layout)
        targets = self._targets(network, examples, codes, teacher)
        trainee: Trainee
        if latent is None:
            pupil = self._new(DRAWING, lambda: DrawingLosses(network, section, teacher.layout.neutral(), identity))
            trainee = DrawingTrainee(pupil, targets, teacher)
        else:
            painted = PaintedSet(targets, teacher, Layers.of(network.common_face, teacher.layout.neutral()))
            stages[LATENT] = self._latent(network, painted, latent)
            trainee = FlowTrainee(FlowLosses(network), painted)
        samples = self._out / DRAWING / SAMPLES_FOLDER

        def look(step: int, averaged: nn.Module) -> None:
            assert isinstance(averaged, Drawer)
            sheet = sample_sheet(averaged, examples, targets)
            _, content = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
            samples.mkdir(exist_ok=True)
            write_bytes(samples / f"step-{step:08d}.png", content.tobytes())

        stages[DRAWING] = self._stage(DRAWING, section, trainee, look)
        return stages

    def _latent(self, network: NorfacePipeline, painted: PaintedSet, section: Latent) -> Path:
        decoder = network.decoder
        assert isinstance(decoder, FlowDecoder), "the section makes it one"
        colour, alpha = network.common_face.layers(decoder.common.shape[-1])
        decoder.common.copy_(torch.cat([colour, 2 * alpha - 1], dim=1))
        folder = self._stage(LATENT, section, LatentTrainee(LatentLosses(decoder, section.prior), painted))
        fit_latents(decoder, painted)
        return folder

    def _targets(
        self, network: NorfacePipeline, examples: ExampleSet, codes: tuple[Floats, Floats], teacher: Teacher
    ) -> TargetSet:
        seed = seed_of(self._training.seed, TARGETS_FOLDER)
        rows = drawn_evenly(examples.kinds, self._training.drawing.examples, seed)
        strengths = torch.tensor(STRENGTHS).repeat(len(rows))
        free, own = (torch.from_numpy(part[rows]).repeat_interleave(len(STRENGTHS), 0) for part in codes)
        with torch.inference_mode():
            passed = network.merger.passed(free, own, strengths).numpy()
        folder = self._out / TARGETS_FOLDER
        layers = Layers.of(network.common_face, teacher.layout.neutral())
        parts: list[Path] = []
        if self._main:
            counts = self._counts(TARGETS_FOLDER)
            parts = build_targets(examples, rows, passed, teacher, layers, folder, self._means.workers, counts)
        self._accelerator.wait_for_everyone()
        return read_targets(parts or sorted(folder.glob("part-*.parquet")), rows, passed)

    def _model(self, network: NorfacePipeline, examples: ExampleSet, trained: dict[str, Path]) -> Path:
        """Write the shipped folder, whole or not at all."""
        target = self._out / MODEL_FOLDER
        if self._main:
            part = target.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            halved = NorfacePipeline(
                deepcopy(network.encoder).half(),  # type: ignore[no-untyped-call]  # diffusers gives it no types
                deepcopy(network.merger).half(),  # type: ignore[no-untyped-call]
                deepcopy(network.decoder).half(),  # type: ignore[no-untyped-call]
                network.common_face,
                network.layout,
            )
            try:
                halved.save_pretrained(part)
            except SafetensorError as error:
                raise UsageError(
                    f"{MODEL_FOLDER}: cannot write the weights ({error}); free some space and train again"
                ) from error
            parts = ("encoder", "merger", "decoder")
            counts = {name: sum(weight.numel() for weight in getattr(network, name).parameters()) for name in parts}
            write_bytes(part / CARD_FILE, model_card(self._training, examples, counts, trained).encode())
            for path in part.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            part.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
        self._accelerator.wait_for_everyone()
        return target

    def _stage(self, name: str, section: Stage, trainee: Trainee, look: Callable[[int, nn.Module], None] | None = None) -> Path:
        """Bring a stage to its end, if it is not there: the trainee's module has the averaged weights then. Its folder."""
        folder = self._out / name
        result = folder / RESULT_FILE
        module = trainee.module()
        if not result.exists():
            if self._main:
                begin(folder / STAGE_FILE, self._stages[name])
            self._accelerator.wait_for_everyone()
            directions = Directions(name, folder, self._training.seed, self._say, look)
            averaged = train(trainee, section, directions, self._accelerator)
            if self._main:
                write_tensors(result, averaged.state_dict())
            self._accelerator.wait_for_everyone()
        if self._main:
            shutil.rmtree(folder / CHECKPOINTS_FOLDER, ignore_errors=True)
        module.cpu().load_state_dict(loaded(result))
        module.eval().requires_grad_(requires_grad=False)
        return folder

    def _new(self, name: str, make: Callable[[], _Module]) -> _Module:
        """A module whose first weights follow from the seed and its name."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self._training.seed, name, "weights"))
            return make()

    def _say(self, line: str) -> None:
        if self._main:
            self._means.watch(line)

    def _counts(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._say(f"{what} {done}/{total}")
