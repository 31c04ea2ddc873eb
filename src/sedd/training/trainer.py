"""The trainer: configuration in, a stream of step reports out; `fit` is that stream plus files and a display."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import Batches, Cursor, Dataset, Sequences, open_data
from sedd.data.user import user_dataset
from sedd.devices import choose
from sedd.diagnosis.alarms import Alarm, Verdict
from sedd.diffusion.loss import is_selective, score_entropy_loss
from sedd.diffusion.loss_profile import BINS, LossProfile, bin_of, widths
from sedd.diffusion.process import Process
from sedd.diffusion.schedule import Schedule
from sedd.distributed.group import join
from sedd.distributed.parallel import parallelize, sync_module_states
from sedd.distributed.signals import StopRequest
from sedd.errors import CheckpointError, ConfigError, DistributedError, TrainingError
from sedd.evaluation.bound import Bound
from sedd.model.transformer import Transformer
from sedd.plugins.contracts import Curriculum
from sedd.randomness import seed_for
from sedd.runs import checkpoint
from sedd.runs.differences import blocking_differences
from sedd.runs.directory import RunDirectory
from sedd.runs.metrics import BoundRecord, RollbackRecord, SkippedRecord, TrainRecord
from sedd.runs.state import TrainState, Window
from sedd.runs.step_report import StepReport
from sedd.sampling.generation import Generation
from sedd.sampling.lengths import LengthDistribution
from sedd.training.collectives import DistributedEstimator, all_reduce_parts, generate_texts
from sedd.training.compiling import compile_blocks, should_compile, with_eager_fallback
from sedd.training.ema import EmaNetwork
from sedd.training.loading import Loader, StepInputs
from sedd.training.optimizer import make_optimizer
from sedd.training.progress import Display
from sedd.training.recording import NullRecorder, Recorder
from sedd.training.samples import SamplesAtSteps
from sedd.training.tracking import TrackerSessions


class Trainer:
    """Trains a SEDD model.

    Args:
        config: a `Config`, the name of a preset, or the path of a run file.
        model: your own network in place of the built-in transformer, called as `model(tokens, sigma, mask)`; it returns
            (batch, length, `process.outputs`) logits (`model.head: normalised`) or log-scores
            (`model.head: score`).
        data: your own data in place of `config.data`: a `Dataset`, or anything with `len` and integer arrays as items.
        curriculum: a curriculum object in place of `config.curriculum`, registered as a plugin or not.
        run: directory of the run; by default one named after the time, in `runs/`. Nothing is written before `fit`.
        resume: continue the run in `run` if there is one.

    Raises:
        ConfigError, DataError, DeviceError: if the configuration, the data or the device cannot be used.
        CheckpointError: if `run` holds a run of another configuration, or one that `resume` did not ask for.

    Examples:
        >>> import sedd
        >>> trainer = sedd.Trainer(sedd.load_config("quickstart", "training.n_iters=2", "model.n_blocks=1"))
        >>> [report.step for report in trainer.steps()]
        [1, 2]
    """

    def __init__(
        self,
        config: Config | str | Path,
        *,
        model: nn.Module | None = None,
        data: Dataset | Sequences | None = None,
        curriculum: Curriculum | None = None,
        run: str | Path | None = None,
        resume: bool = False,
    ) -> None:
        config = config if isinstance(config, Config) else load_config(config)
        self.config = config if curriculum is None else config.replace(curriculum=curriculum)
        self.resume = resume
        backend = choose(self.config.device)
        self.world = join(backend)
        self.run = self.world.broadcast_object(lambda: RunDirectory.fresh() if run is None else RunDirectory(Path(run)))
        self.run.check(self.config, resume=resume)
        self.backend = backend
        self.backend.prepare()
        self.device = backend.device(self.world.local_rank)
        self.data = self._open(data)
        self.process = Process.of(self.config, self.data.alphabet.n)
        self.schedule = Schedule(self.config)
        self.network = self._network(model)
        self._selective = is_selective(self.network)
        self.ema = EmaNetwork(self.network, self.config.ema)
        self.parallel = parallelize(
            self.world, self.config, self.network, self.ema.network, find_unused_parameters=model is not None
        )
        self.optimizer = make_optimizer(self.network, self.config)
        training = self.config.training
        self.batches = Batches(
            self.data.train,
            seed=self.config.seed,
            batch_size=training.batch_size,
            accum=training.accum,
            batch_residues=training.batch_residues,
            max_length=self.config.model.length,
        )
        self.lengths = LengthDistribution.of(self.data.train, longest=self.config.model.length)
        # A compiler may be missing on one machine: all processes compile, or none.
        share = self._residues_per_step() / self.world.size
        compiles = should_compile(self.config, self.network, residues=share, backend=backend, device=self.device)
        self.compiled = all(self.world.all_gather_object(compiles))
        """Whether the network is compiled, see `training.compile`."""
        if self.compiled:
            compile_blocks(self.network)
        pin_memory = self.device.type == "cuda"
        self.loader = Loader(
            self.config, self.data, self.batches, self.process.graph, pin_memory=pin_memory, world=self.world
        )
        self.state = TrainState()
        self.verdict: Verdict | None = None
        """What the monitor says of the run, after `fit`."""
        self._owns_run = False
        self._check_group()
        if resume:
            self.restore()

    # What a person calls -------------------------------------------------------------------------------------------

    def fit(self, *, progress: bool = True) -> Bound:
        """Train to the end: metrics, checkpoints, trackers, display. Returns the final held-out bound.

        Ctrl-C and SIGTERM save a checkpoint first, and so does a run that cannot go on.

        Raises:
            TrainingError: if too many steps in a row are not finite, or the run diverges and `monitoring.on_divergence`
                is `stop`.
            CheckpointError: if the run directory is another run's, or another process is training in it.
        """
        config = self.config
        if self.world.is_main:
            speeds = {"precision": self.backend.precision, "compiled": "yes" if self.compiled else "no"}
            self.run.begin(config, resume=self.resume or self._owns_run, **speeds)
        self._owns_run = True  # so that a second `fit` goes on where an interrupted first one stopped
        bound: Bound | None = None
        with ExitStack() as stack:
            stop = stack.enter_context(StopRequest())
            shown = progress and self.world.is_main
            display = stack.enter_context(
                Display(config.training.n_iters, every=config.training.log_every, enabled=shown)
            )
            recorder = self._recorder(stack, display) if self.world.is_main else NullRecorder()
            samples = SamplesAtSteps(self, display.say)
            if config.monitoring.on_divergence == "rollback" and self.state.step == 0:
                self.save()  # so that there is always something to go back to
            for report in self._saved_if_it_fails():
                bound = report.bound or bound
                lines = (*self._record(report), *samples(report))
                alarms = [alarm for line in lines for alarm in recorder.write(line)]
                display.update(report)
                # Every process does what the first is alarmed of, and what any was asked by a signal.
                asked, alarmed = self.world.all_reduce_max(stop.number or 0, len(alarms))
                if asked or self._saves_at(report):
                    self.save()
                for alarm in self.world.all_gather_object(alarms)[0] if alarmed else ():
                    if alarm.diverging and self._act_on(alarm, recorder):
                        break
                if asked:
                    stop.number = asked
                    display.say(
                        f"Stopped and saved at step {report.step:,}; continue with --resume --run {self.run.path}"
                    )
                    stop.exit()
            self.verdict = self.world.broadcast_object(recorder.verdict)
        return bound or self.evaluate()

    def _recorder(self, stack: ExitStack, display: Display) -> Recorder:
        """Take the run over from where it was left, and record what comes, until `stack` ends."""
        stack.enter_context(self.run.lock())
        self.run.rewind(self.state.step, self.state.skipped)
        trackers = TrackerSessions(self.config.trackers, self.run.path, self.config.as_dict())
        return Recorder(self.run, self.config, self.data, stack.enter_context(trackers), display.say)

    def _saved_if_it_fails(self) -> Iterator[StepReport]:
        """`steps`, with a checkpoint of the last good weights if they end in an error."""
        try:
            yield from self.steps()
        except TrainingError:
            self.save()
            raise

    def steps(self) -> Iterator[StepReport]:
        """The training loop: one report per optimizer step (skipped ones too). Writes no file.

        Raises:
            TrainingError: if `training.max_skipped` steps in a row are not finite.
        """
        training = self.config.training
        while self.state.step < training.n_iters:
            report = self._step()
            last = report.step == training.n_iters
            if not report.skipped and (last or report.step % training.eval_every == 0):
                report = replace(report, bound=self.evaluate())
                self._note_best(report)
            yield report

    def evaluate(self) -> Bound:
        """The held-out bound with EMA weights: the same sequences and noise every time, no curriculum.

        Like `steps`, `sample` and `save`, it is called by all processes of a group, and gives all the same.
        """
        options = self.config.evaluation
        estimate = DistributedEstimator(
            self.data.valid,
            self.process,
            self.backend,
            self.device,
            self.config.model.length,
            count=options.sequences,
            masks=options.masks,
            batch_size=options.batch_size,
            world=self.world,
        )
        with self.parallel.full_ema() as network:
            return estimate(network)

    def sample(self, count: int, *, length: int | None = None, seed: int = 0) -> list[str]:
        """Generate sequences with EMA weights.

        Args:
            count: how many.
            length: residues in each; by default lengths are drawn from those of the training data.
            seed: the same seed gives the same samples.

        Raises:
            SamplingError: if the noise stops too early to start from nothing, or the length is impossible.
        """
        with self.parallel.full_ema() as network:
            generation = Generation(
                self.config, network, self.process, self.backend, self.device, self.data.alphabet, self.lengths
            )
            request = generation.sample(count, length=length, seed=seed)
            return generate_texts(generation, request, self.world)

    def save(self) -> Path:
        """Write a checkpoint of the current step and prune old ones; returns its directory."""
        groups = {
            "model": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizer": self.parallel.optimizer_state(self.optimizer),
        }
        path = checkpoint.write(
            self.run.checkpoints,
            self.state.step,
            checkpoint.Checkpoint(
                tensors={name: self.parallel.tensors_to_save(group) for name, group in groups.items()},
                state={
                    "train": self.state.to_dict(),
                    "ema_updates": self.ema.updates,
                    "alphabet": self.data.alphabet.to_dict(),
                    "lengths": self.lengths.to_json(),
                    "data": self.data.fingerprint,
                },
                config=self.config.as_dict(),
            ),
            world=self.world,
            sharded=self.parallel.sharded,
        )
        best = None if self.state.best_step is None else f"step-{self.state.best_step:08d}"
        if self.world.is_main:
            checkpoint.prune(self.run.checkpoints, keep=self.config.checkpoint.keep, best=best)
        return path

    def restore(self) -> bool:
        """Go to the newest intact checkpoint of the run, if there is one; returns whether there was.

        Raises:
            CheckpointError: if the run belongs to another configuration, was trained on other data, or is training now.
        """
        self.run.check(self.config, resume=True)
        found = self._newest() if self.world.is_main else None
        if not self.world.broadcast_object(lambda: found is not None):
            return False
        self._load(found)
        self._owns_run = True
        return True

    def _newest(self) -> tuple[Path, checkpoint.Checkpoint] | None:
        if not self.run.checkpoints.exists():
            return None
        with self.run.lock():  # looking for an intact checkpoint may move damaged ones aside
            return self.run.latest()

    def _load(self, found: tuple[Path, checkpoint.Checkpoint] | None) -> None:
        """Take over everything that a checkpoint holds. Only the first process has to have read it."""
        path, saved = checkpoint.known_to_all(found, self.world)
        if saved.state["data"] != self.data.fingerprint:
            raise CheckpointError(
                f"{path} was trained on other data ({saved.state['data']['train']['sequences']:,} sequences; here are "
                f"{len(self.data.train):,}); resume with the same data, or start a new run"
            )
        try:
            self.parallel.load_state_dict(self.network, saved.tensors["model"])
            self.parallel.load_state_dict(self.ema.network, saved.tensors["ema"])
        except RuntimeError as error:
            raise CheckpointError(f"{path}: the weights do not fit {type(self.network).__name__}: {error}") from None
        self.ema.updates = int(saved.state["ema_updates"])
        self.parallel.load_optimizer_state(self.optimizer, saved.tensors["optimizer"])
        self.state = TrainState.from_dict(saved.state["train"])

    # One step ------------------------------------------------------------------------------------------------------

    def _step(self) -> StepReport:
        config, state = self.config, self.state
        began = time.perf_counter()
        settings = self.schedule.at(state.step)
        rate = state.lr_scale * settings.lr
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        work = self.loader(state.step, state.cursor)
        residues = work.residues
        mine = self._gradient(work) if not self.compiled else self._compiled_gradient(work)
        norm = self.parallel.clip_grad_norm_(config.optim.grad_clip)
        # The one place where the host waits for the device: whether to step decides every clock.
        *flat, norm_value = torch.cat([mine.flatten(), norm.to(mine)[None]]).tolist()
        parts, token_counts = all_reduce_parts(
            self.world,
            [micro.micro_batch for micro in work.micro_steps],
            np.array(flat).reshape(3, -1),
            work.token_counts,
            total=len(work.mask_rates),
        )
        bins = _binned(
            parts, work.mask_rates, residues=residues, expected=widths(settings.mask_low, settings.mask_high)
        )
        loss = float(bins.loss.sum()) / residues
        skipped = not (math.isfinite(loss) and math.isfinite(norm_value))
        if not skipped:
            self.optimizer.step()
            self.ema.update(self.network)
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - began
        report = StepReport(
            step=state.step + (not skipped),
            loss=loss,
            difficulty=settings.difficulty,
            mask_rate=float(bins.corrupted.sum()) / residues,
            mask_rate_max=settings.mask_high,
            grad_norm=norm_value,
            lr=rate,
            residues=residues,
            residues_per_second=residues / seconds,
            skipped=skipped,
            skipped_total=state.skipped + skipped,
            bins=LossProfile() if skipped else bins,
            token_counts=token_counts,
        )
        self.state = self._advance(report, work.next_cursor, seconds)
        return report

    def _gradient(self, work: StepInputs) -> Tensor:
        """Add the gradient of the step's mean loss per residue; `Loss.parts` of the sequences of this process, on the
        device."""
        parts = []
        self.network.train()
        for micro in work.micro_steps:
            self.backend.seed(micro.seed)
            with self.parallel.gradient_sync(enabled=micro.micro_batch.last):
                with self.backend.autocast():
                    loss = score_entropy_loss(
                        self.parallel.forward,
                        micro.corrupted.to(self.device),
                        process=self.process,
                        selective=self._selective,
                        keys=micro.dropout_keys.to(self.device, non_blocking=True),
                        # On GPUs attention is faster without one: worth a second compilation.
                        always_mask=self.compiled and self.device.type == "cpu",
                    )
                scaled = loss.total * ((not micro.micro_batch.is_padding) * self.parallel.loss_scale) / work.residues
                scaled.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            parts.append(loss.parts)
        return torch.cat(parts, 1)

    def _compiled_gradient(self, work: StepInputs) -> Tensor:
        """The same; a network that cannot be compiled goes on without."""

        def again() -> Tensor:
            self.compiled = False
            self.optimizer.zero_grad(set_to_none=True)
            return self._gradient(work)

        return with_eager_fallback(self.network, lambda: self._gradient(work), eager=again)

    def _advance(self, report: StepReport, cursor: Cursor, seconds: float) -> TrainState:
        state = replace(self.state, cursor=cursor, seconds=self.state.seconds + seconds)
        if report.skipped:
            state = replace(state, skipped=state.skipped + 1, skipped_in_a_row=state.skipped_in_a_row + 1)
            if state.skipped_in_a_row >= self.config.training.max_skipped:
                raise TrainingError(
                    f"{state.skipped_in_a_row} steps in a row had a non-finite loss or gradient (at step {state.step}, "
                    f"lr {report.lr:g}); the weights are as they were before. Lower optim.lr, set optim.grad_clip=1, "
                    "or try device.precision=float32"
                )
            return state
        return replace(
            state,
            step=report.step,
            residues=state.residues + report.residues,
            skipped_in_a_row=0,
            profile=state.profile.ema_update(report.bins, report.step),
            window=state.window.add(report),
        )

    # Keeping records -----------------------------------------------------------------------------------------------

    def _record(self, report: StepReport) -> list[dict[str, Any]]:
        """The lines that this step adds to the metrics file; a training line empties the window it sums up."""
        training = self.config.training
        if report.skipped:
            return [SkippedRecord(report.step, report.skipped_total).to_dict()]
        lines = []
        if report.step % training.log_every == 0 or report.step == training.n_iters:
            record = TrainRecord.of(report, self.state, self.data.token_counts, self.backend.memory())
            lines.append(record.to_dict())
            self.state = replace(self.state, window=Window())
        if report.bound is not None:
            lines.append(BoundRecord.of(report, self.state).to_dict())
        return lines

    # When it diverges ----------------------------------------------------------------------------------------------

    def _act_on(self, alarm: Alarm, recorder: Recorder | NullRecorder) -> bool:
        """What `monitoring.on_divergence` says; returns whether the run went back."""
        rules = self.config.monitoring
        if rules.on_divergence == "warn":
            return False
        if rules.on_divergence == "rollback" and self.state.rollbacks < rules.max_rollbacks:
            recorder.write(self._roll_back(alarm))
            return True
        self.save()
        tried = f" after {self.state.rollbacks} rollbacks" if self.state.rollbacks else ""
        raise TrainingError(f"stopped{tried} because the run diverges (monitoring.on_divergence): {alarm}")

    def _roll_back(self, alarm: Alarm) -> dict[str, Any]:
        """Go to the last checkpoint from before the trouble, with a lower learning rate; returns its record.

        Every process decides alike: alarms follow from the metrics, which are those of the whole step.
        """
        before = self.state
        since = alarm.numbers.get("since", 0.0)
        there = self.world.broadcast_object(lambda: checkpoint.listing(self.run.checkpoints))
        good = [path for path in there if checkpoint.step_of(path) <= since]
        if not good and before.best_step is not None:
            good = [self.run.checkpoints / f"step-{before.best_step:08d}"]
        if not good:
            raise TrainingError(
                f"the run diverges and has no checkpoint from before step {since:,.0f} to go back to; set "
                f"checkpoint.every lower or checkpoint.keep higher: {alarm}"
            )
        self._load((good[-1], checkpoint.read(good[-1])) if self.world.is_main else None)
        self.state = replace(
            self.state,
            lr_scale=before.lr_scale * self.config.monitoring.rollback_lr,
            rollbacks=before.rollbacks + 1,
        )
        if self.world.is_main:
            checkpoint.forget_after(self.run.checkpoints, self.state.step)
        self.save()
        if self.world.is_main:
            self.run.rewind(self.state.step, self.state.skipped, aside=f"rolled-back-{self.state.rollbacks}.jsonl")
        state = self.state
        return RollbackRecord(state.step, alarm.step, state.lr_scale, state.rollbacks, alarm.to_json()).to_dict()

    def _note_best(self, report: StepReport) -> None:
        best = self.state.best_bound
        bound = report.bound
        if bound is not None and math.isfinite(bound.nats) and (best is None or bound.nats < best):
            self.state = replace(self.state, best_bound=bound.nats, best_step=report.step)

    def _saves_at(self, report: StepReport) -> bool:
        if report.skipped:
            return False
        due = report.step % self.config.checkpoint.every == 0 or report.step == self.config.training.n_iters
        return due or self.state.best_step == report.step

    # Set-up --------------------------------------------------------------------------------------------------------

    def _open(self, data: Dataset | Sequences | None) -> Dataset:
        if data is None:
            return open_data(self.config.data, seed=self.config.seed)
        return data if isinstance(data, Dataset) else user_dataset(data, self.config.data, seed=self.config.seed)

    def _residues_per_step(self) -> float:
        return self.batches.batch_sequences * self.lengths.mean

    def _network(self, model: nn.Module | None) -> nn.Module:
        if model is None:
            self.backend.seed(seed_for(self.config.seed, "weights"))
            model = Transformer(self.config.model, states=self.process.graph.states, outputs=self.process.outputs)
        model = model.to(self.device)
        if not any(p.requires_grad for p in model.parameters()):
            raise ConfigError(f"the model {type(model).__name__} has no parameters to train")
        sync_module_states(self.world, model)
        return model

    def _check_group(self) -> None:
        """Whether all processes train the same, and have something to do."""
        size, sequences = self.world.size, self.batches.batch_sequences
        if sequences < size:
            raise ConfigError(
                f"{size} processes, and {sequences} sequences in an optimizer step: some would have nothing to do. "
                f"Raise training.batch_size or training.accum, or start at most {sequences} processes",
                keys=["training.batch_size", "training.accum"],
            )
        everybody = self.world.all_gather_object((self.config.as_dict(), self.data.fingerprint))
        for rank, (config, data) in enumerate(everybody):
            changed = [difference.key for difference in blocking_differences(everybody[0][0], config)]
            if changed or data != everybody[0][1]:
                what = f"configuration ({', '.join(changed)})" if changed else "data"
                raise DistributedError(f"process {rank} of {size} has another {what} than process 0; give all the same")


def _binned(parts: np.ndarray, mask_rates: np.ndarray, *, residues: int, expected: np.ndarray) -> LossProfile:
    """`Loss.parts` of the sequences of a step, (3, batch), by mask rate."""
    place = bin_of(mask_rates)
    loss, drawn, corrupted = (np.bincount(place, part, minlength=BINS).astype(np.float64) for part in parts)
    return LossProfile(residues, loss, drawn, expected * residues, corrupted)
