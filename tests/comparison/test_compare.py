"""Comparing runs: what may be compared, at which points, and with which confidence interval."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import sedd
from sedd import cli
from sedd.comparison.bound_curves import Point, align, evenly_spread, part
from sedd.comparison.compare import Comparison, compare
from sedd.comparison.paired import difference, paired
from sedd.data import open_data
from sedd.diffusion.loss_profile import BINS, EDGES, widths
from sedd.errors import CheckpointError, ConfigError, DataError, SeddError
from sedd.evaluation.estimator import Estimator
from sedd.runs.metrics import BoundRecord
from tests.conftest import TINY

Writer = Callable[..., Path]
AT_HALF, AT_FOUR_FIFTHS = 1.0 - math.exp(-0.5), 1.0 - math.exp(-0.8)


def bound_line(step: int, level: float, stderr: float = 0.01, **more: Any) -> dict[str, Any]:
    """A bound record whose integrand is `level` at every mask rate, with a standard error in proportion."""
    return {
        "kind": "bound",
        "step": step,
        "bound_nats": level,
        "bound_stderr": stderr,
        "bound_profile": [level] * BINS,
        "bound_up_to": (level * EDGES[1:]).tolist(),
        "bound_up_to_stderr": (stderr * EDGES[1:]).tolist(),
        "bound_sequences": 256,
        "bound_residues": 4000,
        "bound_cropped": 0,
        "residues": 100 * step,
        "seconds": 0.5 * step,
        **more,
    }


def train_line(step: int, high: float, loss: float = 1.0) -> dict[str, Any]:
    """A train record of steps that drew mask rates from 0 to `high`."""
    drawn = widths(0.0, high).tolist()
    return {
        "kind": "train", "step": step, "loss": loss, "difficulty": 1.0, "mask_rate_max": high, "lr": 1e-3,
        "grad_norm": 1.0, "grad_norm_max": 1.0, "residues": 100 * step, "seconds": 0.5 * step, "skipped": 0,
        "by_mask_rate_loss": drawn, "by_mask_rate_drawn": drawn, "by_mask_rate_expected": drawn,
        "by_mask_rate_corrupted": drawn, "profile": [1.0] * BINS,
    }  # fmt: skip


DATA = {"kind": "data", "step": 0, "letter_counts": [10] * 20, "mean_length": 16.0, "sequences": 200}


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Write a run directory from records and changed keys of the configuration (`__` for a dot)."""

    def write(name: str, *lines: dict[str, Any], data: dict[str, Any] | None = DATA, **changes: Any) -> Path:
        config = sedd.load_config("quickstart", *TINY, "noise.sigma_min=0", "noise.sigma_max=0.5").to_dict()
        for key, value in changes.items():
            section, _, option = key.replace("__", ".").partition(".")
            if option:
                *inner, last = option.split(".")
                part_of = config[section]
                for name_of in inner:
                    part_of = part_of[name_of]
                part_of[last] = value
            else:
                config[section] = value
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        records = [*([data] if data else []), *lines]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return folder

    return write


def answers(found: Comparison) -> dict[str, str]:
    return {rule.what: rule.answer for rule in found.rules}


def reasons(found: Comparison, what: str) -> str:
    return "; ".join(reason for rule in found.rules if rule.what == what for reason in rule.reasons)


pytestmark = pytest.mark.filterwarnings("ignore::sedd.SeddWarning")  # noise that stops early warns, as it should


# Parts of a bound ----------------------------------------------------------------------------------------------------


def made(up_to: np.ndarray, error: np.ndarray) -> BoundRecord:
    return BoundRecord(1, float(up_to[-1]), float(error[-1]), 1, 1.0, np.ones(BINS), up_to, error)


def test_a_part_of_a_bound_is_linear_within_a_bin_and_its_error_is_never_too_small() -> None:
    line = made(2.0 * EDGES[1:] ** 2, 0.1 * EDGES[1:])
    inside = 0.3 * 2.0 * 0.5**2 + 0.7 * 2.0 * 0.525**2  # 70 % of the way through the bin from 0.5 to 0.525
    low = 2.0 * 0.1**2
    assert part(line, 0.1, 0.5 + 0.7 * 0.025) == pytest.approx((inside - low, 0.1 * (0.5175 + 0.1)))
    assert part(line, 0.0, 1.0) == (line.nats, line.stderr)


def test_runs_of_other_noise_are_compared_over_the_range_they_share(write: Writer) -> None:
    a = write("a", train_line(10, AT_HALF), bound_line(10, 2.0))
    b = write("b", train_line(10, AT_FOUR_FIFTHS), bound_line(10, 1.5), noise__sigma_max=0.8, noise__sigma_min=0.02)
    found = compare(a, b)
    low = -math.expm1(-0.02)
    assert found.mask_rates == pytest.approx((low, AT_HALF))
    (point,) = found.points["steps"]
    assert point.nats == pytest.approx((2.0 * (AT_HALF - low), 1.5 * (AT_HALF - low)))
    assert point.stderr[0] == pytest.approx(0.01 * (AT_HALF + low))
    (full,) = found.full_points["steps"]
    assert full.nats == (2.0, 1.5)
    assert answers(found) == {
        "training loss": "no",
        "held-out bound": "with care",
        "bound over the shared range": "yes",
        "bound at equal time": "yes",
    }
    assert "39.3%" in reasons(found, "held-out bound")  # the largest mask rate of a
    assert "55.1%" in reasons(found, "held-out bound")  # and of b
    assert not found.untrained_range


# Points --------------------------------------------------------------------------------------------------------------


def test_curves_are_aligned_where_one_was_evaluated_and_never_beyond_the_end_of_another(write: Writer) -> None:
    a = write("a", *(bound_line(step, level) for step, level in ((100, 3.0), (200, 2.0), (300, 1.8))))
    b = write("b", *(bound_line(step, level, residues=step * 200) for step, level in ((150, 2.6), (250, 1.6))))
    found = compare(a, b)
    share = found.mask_rates[1]
    assert [point.at for point in found.points["steps"]] == [150, 200, 250]
    wanted = ((2.5, 2.6), (2.0, 2.1), (1.9, 1.6))
    for point, levels in zip(found.points["steps"], wanted, strict=True):
        assert point.nats == pytest.approx(tuple(level * share for level in levels))
    assert [point.at for point in found.points["residues"]] == [30_000]  # a ends there, and b begins
    assert [point.at for point in found.points["seconds"]] == [75, 100, 125]
    with pytest.raises(ValueError):  # noqa: PT011  # raised for one reason
        found.curves[1].at("steps", 251)


def test_runs_without_a_common_point_are_not_extrapolated(write: Writer) -> None:
    a, b = write("a", bound_line(100, 3.0)), write("b", bound_line(200, 2.0), bound_line(300, 2.0))
    found = compare(a, b)
    assert found.points["steps"] == ()
    assert "b: steps 200 to 300" in found.sentence
    assert align(found.curves, "steps") == ()


def test_a_few_points_are_spread_evenly_and_end_with_the_last() -> None:
    points = [Point(float(at), (1.0, 1.0), (0.1, 0.1)) for at in range(0, 101, 5)]
    assert [point.at for point in evenly_spread(points)] == [25, 50, 75, 100]
    assert evenly_spread(points[:1]) == (points[0],)
    close = [Point(at, (1.0, 1.0), (0.1, 0.1)) for at in (0.0, 33.0, 33.5, 66.0, 100.0)]
    assert [point.at for point in evenly_spread(close)] == [33.0, 66.0, 100.0]
    assert evenly_spread(()) == ()


def test_an_evaluation_that_was_not_finite_is_left_out(write: Writer) -> None:
    broken = bound_line(200, 2.0, bound_up_to=[None], bound_up_to_stderr=[None], bound_profile=[None])
    del broken["bound_nats"]
    a = write("a", bound_line(100, 3.0), broken, bound_line(300, 2.0))
    assert compare(a, write("b", bound_line(300, 2.0))).curves[0].steps.tolist() == [100, 300]


# The sentence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "words"),
    [(1.0, "b is better than a by"), (1.99, "b and a do not differ significantly"), (3.0, "a is better than b by")],
)
def test_the_sentence_names_the_better_run_if_the_interval_excludes_0(write: Writer, level: float, words: str) -> None:
    found = compare(write("a", bound_line(10, 2.0)), write("b", bound_line(10, level)))
    assert found.sentence.startswith(words)
    assert ("includes 0" in found.sentence) == ("significantly" in words)
    gap, error = abs(level - 2.0) * AT_HALF, math.hypot(0.01, 0.01) * AT_HALF
    assert f"{gap - 1.96 * error:.4f} to {gap + 1.96 * error:.4f}" in found.sentence


def test_the_best_of_several_is_compared_with_the_next_best_and_excluded_runs_are_named(write: Writer) -> None:
    runs = [write(name, bound_line(10, level)) for name, level in (("a", 3.0), ("b", 1.0), ("c", 2.0))]
    other = write("d", bound_line(10, 0.5), data__holdout=0.5)
    found = compare(*runs, other)
    assert found.sentence.startswith("b is better than c")
    assert found.sentence.endswith(": d.")
    assert found.compared == ("a", "b", "c")


def test_equal_runs_are_called_equal(write: Writer) -> None:
    found = compare(write("x/a", bound_line(10, 2.0)), write("y/a", bound_line(10, 2.0)))
    assert found.runs == ("x/a", "y/a")
    assert found.points["steps"][0].difference(1)[0] == 0.0
    assert found.differences == ()


def test_without_a_standard_error_no_interval_is_given(write: Writer) -> None:
    one = bound_line(10, 2.0, bound_up_to_stderr=[])
    del one["bound_stderr"]
    found = compare(write("a", one), write("b", bound_line(10, 1.0)))
    assert "interval" not in found.sentence
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["at_equal"]["steps"][0]["half_width"][0] is None


# The ranking ---------------------------------------------------------------------------------------------------------


def evaluated_line(*lengths: int) -> dict[str, Any]:
    held_out = {name: [1.0] * len(lengths) for name in ("unigram", "composition")}
    return {
        "kind": "evaluated",
        "step": 0,
        "held_out": {"sequences": 3, "token_counts": [], "residues": lengths, **held_out},
    }


def test_runs_that_are_not_distinguishable_share_a_place(write: Writer) -> None:
    levels = (("a", 3.0), ("b", 1.0), ("c", 1.01), ("d", 2.0))
    found = compare(*(write(name, bound_line(10, level)) for name, level in levels))
    assert [(ranked.place, ranked.run) for ranked in found.ranking] == [(1, "b"), (1, "c"), (3, "d"), (4, "a")]
    assert found.ranking[1].behind == pytest.approx(0.01 * AT_HALF)
    assert found.ranking[1].interval == pytest.approx(
        tuple((0.01 + sign * 1.96 * math.hypot(0.01, 0.01)) * AT_HALF for sign in (-1, 1))
    )
    assert not found.ranking[1].paired


def test_the_ranking_takes_the_difference_by_sequence_where_it_is_recorded(write: Writer) -> None:
    def run(name: str, level: float, by_sequence: list[float], last: int = 10) -> Path:
        bound = bound_line(10, level, 0.5, bound_by_sequence=by_sequence)
        return write(name, evaluated_line(10, 10, last), bound, noise__sigma_max=6.9)

    a, b = run("a", 2.0, [1.0, 2.0, 3.0]), run("b", 2.01, [1.009, 2.01, 3.011])  # easy and hard sequences
    found = compare(a, b)
    assert [(ranked.place, ranked.run) for ranked in found.ranking] == [(1, "a"), (2, "b")]
    assert found.ranking[1].paired
    assert found.ranking[1].behind_stderr == pytest.approx(math.sqrt(2.0) * 0.001 / 3.0)
    other = run("c", 2.0, [1.0, 2.0, 3.0], last=11)
    assert [ranked.place for ranked in compare(a, other, b).ranking] == [1, 1, 2]


def test_the_command_begins_with_the_ranking_and_the_keys_that_explain_it(trained: dict[str, Path]) -> None:
    printed = sedd_(trained["a"], trained["b"], trained["other"])
    assert printed.index("Ranking") < printed.index(" lr ")
    assert "not comparable" in printed
    assert "at equal" not in printed


# What may be compared ------------------------------------------------------------------------------------------------

OTHER_DATA = [
    ({"data__holdout": 0.5}, {}, "data.holdout is 0.01 in a and 0.5 in b"),
    ({"seed": 7}, {}, "seed is 0 in a and 7 in b"),
    ({"data__alphabet": "esm"}, {}, "data.alphabet is protein in a and esm in b"),
    ({}, {"bound_residues": 3999}, "4,000 and 3,999"),
    ({"model__length": 12}, {"bound_cropped": 3}, "model.length is"),
]


@pytest.mark.parametrize(("changes", "numbers", "words"), OTHER_DATA, ids=[words for *_, words in OTHER_DATA])
def test_bounds_of_other_sequences_are_refused(write: Writer, changes: Any, numbers: Any, words: str) -> None:
    found = compare(write("a", bound_line(10, 2.0)), write("b", bound_line(10, 1.0, **numbers), **changes))
    assert answers(found)["held-out bound"] == answers(found)["bound over the shared range"] == "no"
    assert words in found.sentence
    assert found.compared == ("a",)
    assert found.points["steps"] == ()


def test_bounds_of_runs_trained_on_other_data_are_refused_unless_the_held_out_sequences_are_known_to_be_equal(
    write: Writer,
) -> None:
    a = write("a", bound_line(10, 2.0), data__train="x.fasta")
    b = write("b", bound_line(10, 1.0), data={**DATA, "sequences": 100}, data__train="y.fasta", seed=3)
    assert "200 and 100" in reasons(compare(a, b), "held-out bound")
    alphabet = {"name": "protein", "symbols": list("ACDEFGHIKLMNPQRSTVWY")}
    for run, train in ((a, "p"), (b, "q")):
        state = run / "checkpoints" / "step-00000010" / "state.json"
        state.parent.mkdir(parents=True)
        valid = {"sequences": 256, "identity": "v"}
        prints = {"train": {"sequences": 1, "identity": train}, "valid": valid, "alphabet": alphabet}
        state.write_text(json.dumps({"data": prints}))
    found = compare(a, b)
    assert answers(found)["bound over the shared range"] == "yes"
    assert answers(found)["training loss"] == "no"


def test_where_the_data_lie_does_not_matter(write: Writer) -> None:
    a = write("a", bound_line(10, 2.0), data__train="here.fasta")
    b = write("b", bound_line(10, 1.0), data__train="there.fasta", seed=5, device__precision="bfloat16")
    found = compare(a, b)
    assert answers(found)["bound over the shared range"] != "no"
    assert {difference.key: difference.neutral for difference in found.differences} == {
        "seed": False,
        "data.train": True,
        "device.precision": False,
    }


def test_bounds_over_more_sequences_or_masks_are_compared_with_care(write: Writer) -> None:
    a = write("a", bound_line(10, 2.0))
    b = write("b", bound_line(10, 1.0, bound_sequences=200, bound_residues=3000), evaluation__masks=8)
    found = compare(a, b)
    assert answers(found)["bound over the shared range"] == "with care"
    assert "256 and 200" in reasons(found, "held-out bound")
    assert "evaluation.masks is 2 in a and 8 in b" in reasons(found, "held-out bound")


def test_full_bounds_of_two_graphs_are_compared(write: Writer) -> None:
    a = write("a", bound_line(10, 2.0))
    found = compare(a, write("u", bound_line(10, 1.0), graph__type="uniform"))
    assert found.mask_rates == (0.0, 1.0)
    assert found.points["steps"][0].nats == (2.0, 1.0)
    assert answers(found)["bound over the shared range"] == "no"
    assert answers(found)["held-out bound"] == "with care"
    assert found.untrained_range


def test_noises_without_a_common_mask_rate_share_nothing(write: Writer) -> None:
    a = write("a", bound_line(10, 2.0))
    found = compare(a, write("b", bound_line(10, 2.0), noise__sigma_min=0.6, noise__sigma_max=0.8))
    assert found.compared == ("a",)
    assert "45.1% to 55.1% (b)" in reasons(found, "bound over the shared range")


def test_training_losses_under_different_noise_are_refused_with_the_factor_between_untrained_models(
    write: Writer,
) -> None:
    a = write("a", train_line(10, AT_HALF), bound_line(10, 2.0))
    b = write("b", train_line(10, AT_FOUR_FIFTHS), bound_line(10, 2.0), noise__sigma_max=0.8)
    why = reasons(compare(a, b), "training loss")
    assert f"{AT_HALF * math.log(20):.3f} and {AT_FOUR_FIFTHS * math.log(20):.3f} nats per residue" in why
    assert f"a factor of {AT_FOUR_FIFTHS / AT_HALF:.2f}" in why


def test_training_losses_may_be_compared_from_where_both_curricula_allow_the_same(write: Writer) -> None:
    lines = [train_line(step, AT_HALF, loss=1.0) for step in (10, 20, 30)]
    slow = [train_line(10, 0.1), train_line(20, AT_HALF, 0.9), train_line(30, AT_HALF, 0.8)]
    a, b = write("a", *lines, bound_line(30, 2.0)), write("b", *slow, bound_line(30, 2.0))
    found = compare(a, b)
    assert answers(found)["training loss"] == "with care"
    assert "2 of 3" in reasons(found, "training loss")
    assert "1.0000 (a) and 0.8000 (b)" in reasons(found, "training loss")
    again = compare(a, write("c", *lines, bound_line(30, 2.0)))
    assert answers(again)["training loss"] == "yes"
    never = compare(a, write("d", train_line(10, 0.1), bound_line(30, 2.0)))
    assert answers(never)["training loss"] == "no"
    assert answers(never)["bound over the shared range"] == "with care"
    assert "10.0% of 39.3%" in reasons(never, "bound over the shared range")


@pytest.mark.parametrize("key", ["graph__type", "model__head"])
def test_training_losses_of_another_graph_or_head_are_refused(write: Writer, key: str) -> None:
    a = write("a", train_line(10, AT_HALF), bound_line(10, 2.0))
    other = {"graph__type": "uniform", "model__head": "score"}[key]
    b = write("b", train_line(10, AT_HALF), bound_line(10, 2.0), **{key: other})
    assert answers(compare(a, b))["training loss"] == "no"


def test_time_on_different_machines_is_compared_with_care(write: Writer) -> None:
    a, b = write("a", bound_line(10, 2.0)), write("b", bound_line(10, 2.0))
    (a / "environment.json").write_text('{"processor": "2 threads"}')
    (b / "environment.json").write_text('{"processor": "64 threads"}')
    found = compare(a, b)
    assert answers(found)["bound at equal time"] == "with care"
    assert "2 threads and 64 threads" in reasons(found, "bound at equal time")


def test_options_of_the_monitor_matter_only_where_it_rolled_back(write: Writer) -> None:
    event = {"kind": "rollback", "step": 5, "from_step": 8, "lr_scale": 0.5, "rollbacks": 1, "alarm": {}}
    calm = [write("a", bound_line(10, 2.0)), write("b", bound_line(10, 2.0), monitoring__rollback_lr=0.1)]
    back = [calm[0], write("c", event, bound_line(10, 2.0), monitoring__rollback_lr=0.1)]
    assert [difference.neutral for difference in compare(*calm).differences] == [True]
    assert [difference.neutral for difference in compare(*back).differences] == [False]


def test_a_run_whose_plugins_are_not_installed_can_be_compared(write: Writer) -> None:
    a = write("a", bound_line(10, 2.0))
    b = write("b", bound_line(10, 1.0), noise__type="alien", curriculum={"difficulty_ramp": "alien", "k": 1})
    found = compare(a, b)
    assert found.points["steps"][0].difference(1)[0] < 0.0
    assert ("curriculum.k", (None, 1)) in [(difference.key, difference.values) for difference in found.differences]


# Errors --------------------------------------------------------------------------------------------------------------


def test_runs_that_cannot_be_read_are_errors_that_name_the_file(write: Writer, tmp_path: Path) -> None:
    a, empty = write("a", bound_line(10, 2.0)), write("empty", train_line(10, 0.3))
    bare = write("bare", bound_line(10, 2.0))
    (bare / "metrics.jsonl").unlink()
    damaged = write("damaged", bound_line(10, 2.0))
    (damaged / "config.yaml").write_text("{[")
    for runs, file in (
        ((a,), None),
        ((a, a / ".." / "a"), a / ".." / "a"),
        ((a, tmp_path / "nowhere"), tmp_path / "nowhere"),
        ((a, tmp_path), tmp_path),
        ((a, bare), bare / "metrics.jsonl"),
        ((a, damaged), damaged / "config.yaml"),
        ((a, empty), empty),
    ):
        with pytest.raises(CheckpointError) as caught:
            compare(*runs)
        assert caught.value.file == file


def test_noise_without_its_ends_is_an_error(write: Writer) -> None:
    a = write("a", bound_line(10, 2.0))
    b = write("b", bound_line(10, 1.0), noise={"type": "alien"})
    with pytest.raises(CheckpointError) as caught:
        compare(a, b)
    assert caught.value.file == b / "config.yaml"


# Real runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Short runs: one trained with noise that stops early, one evaluated on other sequences."""
    folder = tmp_path_factory.mktemp("runs")
    changes = {"a": (), "b": ("optim.lr=0.02",), "early": ("noise.sigma_max=0.5",), "other": ("seed=1",)}
    for name, options in changes.items():
        sedd.Trainer(sedd.load_config("quickstart", *TINY, *options), run=folder / name).fit(progress=False)
    return {name: folder / name for name in changes}


def sedd_(*arguments: str | Path) -> str:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(
        cli.app, ["compare", *map(str, arguments)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_shows_what_differs_what_may_be_compared_and_the_bounds(trained: dict[str, Path]) -> None:
    printed = sedd_(trained["a"], trained["b"], trained["early"], trained["other"], "--details")
    for words in (
        "optim.lr",
        "What may be compared",
        "at equal",
        "Full held-out bound",
        "Not comparable with a: other",
        "--paired",
    ):
        assert words in printed
    lines = printed.splitlines()
    assert max(len(line) for line in lines if line[:1] in "┏┃┡│└") <= 100


def test_the_command_prints_json_and_draws(trained: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = json.loads(sedd_(trained["a"], trained["b"], "--json", "--plot", tmp_path / "deep" / "bounds.png"))
    metrics = [json.loads(line) for line in (trained["b"] / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in metrics if line["kind"] == "bound"][-1]
    assert found["whole_at_equal"]["steps"][-1]["nats"][1] == last["bound_nats"]
    assert found["mask_rates"][1] > 0.99
    assert (tmp_path / "deep" / "bounds.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_or_of_an_unknown_format_is_a_clear_error(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ConfigError):
        sedd_(trained["a"], trained["b"], "--plot", tmp_path / "bounds.xyz")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SeddError):
        sedd_(trained["a"], trained["b"], "--plot", tmp_path / "bounds.png")


def test_a_paired_difference_is_that_of_the_bounds_with_the_error_of_the_gaps(trained: dict[str, Path]) -> None:
    found = paired(trained["a"], trained["b"], sequences=50, masks=3, device="cpu")
    models = [sedd.load(trained[name], device="cpu") for name in "ab"]
    held = open_data(models[0].config.data, seed=0).valid
    bounds = [model.bound(held, masks=3, count=50) for model in models]
    assert found.first == bounds[0]
    assert found.nats == pytest.approx(bounds[1].nats - bounds[0].nats, abs=1e-12)
    assert found.shared == pytest.approx(bounds[1].trained - bounds[0].trained, abs=0.02)
    assert found.sequences == 50
    # Directly: mean and standard error of the differences, weighted by residues.
    by_sequence = [_by_sequence(model, held, masks=3, count=50) for model in models]
    lengths = by_sequence[0][0]
    gaps = by_sequence[1][1] - by_sequence[0][1]
    mean = float(np.average(gaps, weights=lengths))
    direct = math.sqrt(sum((n / lengths.sum()) ** 2 * (gap - mean) ** 2 for n, gap in zip(lengths, gaps, strict=True)))
    assert found.nats == pytest.approx(mean, abs=1e-7)  # batches of another size round otherwise
    assert found.stderr == pytest.approx(direct, rel=1e-4)
    assert found.stderr < math.hypot(bounds[0].stderr, bounds[1].stderr)


def _by_sequence(model: sedd.Pretrained, data: Any, *, masks: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Residues and nats per residue of each sequence, in the order of the estimate."""
    estimate = Estimator(
        data, model.process, model.backend, model.device, model.config.model.length,
        count=count, masks=masks, batch_size=7,
    )  # fmt: skip
    bound, found = estimate.with_sequences(model.network)
    nats = found.by_bin.sum(1)
    assert float(found.residues @ nats / found.residues.sum()) == pytest.approx(bound.nats, abs=1e-6)
    return found.residues, nats


def test_a_run_is_no_different_from_itself(trained: dict[str, Path]) -> None:
    model = sedd.load(trained["a"], device="cpu")
    found = difference(model, model, open_data(model.config.data, seed=0).valid, sequences=30, masks=2)
    assert (found.nats, found.stderr, found.shared, found.shared_stderr) == (0.0, 0.0, 0.0, 0.0)


def test_a_paired_difference_is_over_the_range_that_both_were_trained_on(trained: dict[str, Path]) -> None:
    found = paired(trained["a"], trained["early"], sequences=60, masks=4, device="cpu")
    assert found.mask_rates[1] == pytest.approx(AT_HALF)
    ends = (np.interp(found.mask_rates, EDGES, [0.0, *bound.up_to]) for bound in (found.other, found.first))
    gaps = [float(end[1] - end[0]) for end in ends]
    # The metrics weigh bins by their width, the pairs by what each sequence drew: two estimates of one number.
    assert found.shared == pytest.approx(gaps[0] - gaps[1], abs=found.shared_stderr)


def test_models_evaluated_on_other_sequences_are_not_paired(trained: dict[str, Path]) -> None:
    with pytest.raises(DataError):
        paired(trained["a"], trained["other"], device="cpu")


def test_the_command_pairs_the_best_checkpoints(trained: dict[str, Path]) -> None:
    printed = sedd_(trained["a"], trained["b"], "--paired", "--sequences", "20", "--masks", "2", "--device", "cpu")
    assert "20 sequences: b less a is" in printed
    command = (trained["a"], trained["b"], "--paired", "--sequences", "20", "--json", "--device", "cpu")
    made = json.loads(sedd_(*command).splitlines()[-1])
    assert made["paired"]["b"]["sequences"] == 20
