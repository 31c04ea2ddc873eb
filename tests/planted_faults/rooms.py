"""All planted faults by room."""

from __future__ import annotations

from tests.planted_faults import (
    in_checkpoints,
    in_configuration,
    in_data,
    in_diagnosis,
    in_diffusion,
    in_evaluation,
    in_sampling,
    in_schedules,
    in_training,
)

ROOMS = (
    in_diffusion.ROOM, in_schedules.ROOM, in_data.ROOM, in_training.ROOM, in_checkpoints.ROOM, in_sampling.ROOM,
    in_evaluation.ROOM, in_diagnosis.ROOM, in_configuration.ROOM,
)  # fmt: skip
