"""Schedules by hand: files, stretching, smoothing, and what is refused."""

import json
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.schedule import LearnedSchedule
from ray_glocal.schedule.schedule import Passage
from ray_glocal.schedule.values import LearnedValues

START = (Passage(0, 0, afresh=False),)


def followed(name="lr", steps=(0, 3, 8), values=(0.1, 0.2, 0.4), **told):
    each = [np.array(value, dtype=float) for value in values]
    return LearnedValues.of(name, each[0], steps, each, **{"option": name, **told})


def schedule(*learned, steps=10, **told):
    return LearnedSchedule(learned or (followed(),), steps, **{"passages": START, "planned": steps, **told})


RICH = schedule(
    followed("net/lr", option="lr", groups=(0, 2), ratios=(1.0, 1 / 3)),
    followed("mix", (0, 5), ([0.2, 0.8], [math.pi / 4, 1 - math.pi / 4]), option=None),
    followed("one", (0, 8), ([0.5], [0.1]), option=None),
    passages=(Passage(0, 0, afresh=False), Passage(4, 6, afresh=False), Passage(7, 0, afresh=True)),
    planned=6,
    lr_scheduler="CosineAnnealingLR",
    unfollowed=("one",),
    trials=("a", "b"),
)


@pytest.mark.parametrize("name", ["schedule.json", "schedule.csv", "SCHEDULE.CSV"])
@pytest.mark.parametrize("held", [RICH, schedule(), schedule(steps=9, unfollowed=("lr",))], ids=["rich", "plain", "x"])
def test_a_file_holds_all_of_it(tmp_path, name, held):
    held.write(tmp_path / name)
    assert LearnedSchedule.read(tmp_path / name) == held
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_table_has_a_line_for_each_step_at_which_anything_changed(tmp_path):
    RICH.write(tmp_path / "s.csv")
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[1] == "step,net/lr,mix[0],mix[1],one"
    assert [line.split(",")[0] for line in lines[2:]] == ["0", "3", "5", "8"]
    assert lines[3] == "3,0.2,0.2,0.8,0.5"


def test_a_file_is_read_and_followed_without_any_engine(tmp_path):
    schedule().write(tmp_path / "s.json")
    code = f"""
import sys, torch
before = set(sys.modules)
from ray_glocal.schedule import LearnedSchedule
schedule = LearnedSchedule.read({str(tmp_path / "s.json")!r})
optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
schedule.scheduler(optimizer).step()
fresh = {{name.partition(".")[0] for name in set(sys.modules) - before}} & {{"ray", "pyarrow", "pandas"}}
ours = sorted(n for n in sys.modules if n.startswith("ray_glocal."))
print(fresh, ours)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("set()")
    assert "ray_glocal.schedule.scheduler" in told
    assert not any(f"ray_glocal.{part}" in told for part in ("session", "hypergradient", "report", "tune", "koopman"))


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_stretched_schedule_has_the_same_values_at_the_same_share_of_training(steps, total, data):
    changes = sorted(data.draw(st.sets(st.integers(1, steps), max_size=5)) - {steps} | {0})
    held = schedule(followed(steps=changes, values=[0.1 + i for i in range(len(changes))]), steps=steps)
    stretched = held.stretched(total)
    assert stretched.steps == total == stretched.planned
    for step in range(total):
        each = Fraction(steps, total)  # of rounded sums of floats a place may be left out
        first = step * each - each / 2 - 1  # the changes are rounded to whole steps
        near = {held["lr"](int(first + count)) for count in range(math.ceil(each / 2 + each + 2))}
        assert stretched["lr"](step) in near
    if total % steps == 0:
        assert all(stretched["lr"](step * (total // steps)) == held["lr"](step) for step in range(steps))
    assert stretched["lr"](total - 1) == held["lr"](steps - 1)


def test_the_passages_of_a_stretched_schedule_keep_their_places():
    stretched = RICH.stretched(20)
    told = [(passage.start, passage.clock, passage.afresh) for passage in stretched.passages]
    assert told == [(0, 0, False), (8, 12, False), (14, 0, True)]
    assert stretched.planned == 12
    assert RICH.stretched(1).passages == (Passage(0, 0, afresh=True),)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 40])
def test_a_smoothed_schedule_has_the_means_of_what_is_around(width):
    held = schedule(followed(), followed("momentum", values=(0.9, 0.8, 0.95)))
    smoothed = held.smoothed(width)
    for name, there, back in (("lr", np.log, np.exp), ("momentum", np.asarray, np.asarray)):
        each = [held[name](step) for step in range(10)]
        for step in range(10):
            around = each[max(0, step - (width - 1) // 2) : step + width // 2 + 1]
            assert smoothed[name](step) == pytest.approx(float(back(np.mean(there(around)))))
    shares = RICH.smoothed(width)["mix"]
    assert all(shares(step).sum() == pytest.approx(1) for step in range(10))


@pytest.mark.parametrize("width", [1, 4, 7, 40])
def test_a_smoothed_constant_stays_one_and_so_does_what_no_change_is_near(width):
    stands = followed("weight_decay", (0,), (0.3,)), followed("mix", (0,), ([0.1, 0.7],), option=None)
    moves = followed("share", (0, 50), ([0.1, 0.7], [0.3, 0.6]), option=None)
    smoothed = schedule(*stands, moves, steps=100).smoothed(width)
    assert smoothed.learned[:2] == stands
    changes, reach = smoothed["share"].steps, width - 1
    assert changes.tolist() == [0, *range(50 - width // 2, 50 + (width - 1) // 2 + 1)]
    assert len(changes) == 1 + reach + 1
    assert smoothed["share"](99).tolist() == [0.3, 0.6]


def test_tensors_are_stretched_and_smoothed_entry_by_entry():
    values = np.random.default_rng(0).uniform(size=(3, 5, 4))
    held = schedule(followed("weights", (0, 3, 8), values, option=None))
    one = [schedule(followed("w", (0, 3, 8), values[:, i, j], option=None)) for i in range(5) for j in range(4)]
    for do in (lambda each: each.stretched(23), lambda each: each.smoothed(4), lambda each: each):
        for step in range(10):
            each = [do(single).values(step)["w"] for single in one]
            assert torch.equal(do(held).values(step)["weights"], torch.stack(each).reshape(5, 4))


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ArgumentError, match=r"`file` must be a file that can be written; got '.*none/s.json'. No such"):
        schedule().write(tmp_path / "none" / "s.json")


def optimizer(kind=torch.optim.SGD, **told):
    return kind([torch.zeros(1, requires_grad=True)], **{"lr": 0.1, **told})


def cosine(trained):
    return torch.optim.lr_scheduler.CosineAnnealingLR(trained, 10)


@pytest.mark.parametrize("beneath", [False, True])
def test_one_that_is_saved_and_loaded_goes_on_as_it_would_have(beneath):
    held = RICH if beneath else schedule()
    held = schedule(
        followed(), passages=held.passages, lr_scheduler=held.lr_scheduler, steps=10, planned=6 if beneath else 10
    )
    whole, rates = optimizer(), []
    scheduler = held.scheduler(whole, cosine(whole) if beneath else None)
    for step in range(12):
        if step == 5:
            saved = scheduler.state_dict(), whole.state_dict()
        rates.append(scheduler.get_last_lr())
        whole.step()
        scheduler.step()
    again = optimizer()
    later = held.scheduler(again, cosine(again) if beneath else None)
    again.load_state_dict(saved[1])
    later.load_state_dict(saved[0])
    rest = []
    for _ in range(7):
        rest.append(later.get_last_lr())
        again.step()
        later.step()
    assert rest == rates[5:]
    assert rates[9] == rates[11]  # after the last step they stay


def test_beneath_a_scheduler_the_rate_is_its_own_times_how_far_the_base_was_adapted():
    """After a return its clock has moved on, and where an heir begins it starts anew."""
    held = schedule(followed(), passages=RICH.passages, lr_scheduler="CosineAnnealingLR")
    trained = optimizer()
    scheduler = held.scheduler(trained, cosine(trained))
    clocks = [0, 1, 2, 3, 6, 7, 8, 0, 1, 2]
    for step, clock in enumerate(clocks):
        base = held["lr"](step)
        expected = base * (1 + math.cos(math.pi * clock / 10)) / 2
        assert scheduler.get_last_lr() == [pytest.approx(expected)]
        trained.step()
        scheduler.step()


def test_what_does_not_fit_is_refused(tmp_path):
    beneath = schedule(lr_scheduler="CosineAnnealingLR")
    trained = optimizer()
    with pytest.raises(
        ArgumentError, match="`lr_scheduler` must be a CosineAnnealingLR, beneath which the session ada"
    ):
        beneath.scheduler(trained)
    with pytest.raises(
        ArgumentError, match=r"`lr_scheduler` must be left out; got 'CosineAnnealingLR'. The session ran"
    ):
        schedule().scheduler(trained, cosine(trained))
    with pytest.raises(ArgumentError, match="`lr_scheduler` must schedule the optimizer at hand"):
        beneath.scheduler(trained, cosine(optimizer()))
    stepped = cosine(trained)
    trained.step()
    stepped.step()
    with pytest.raises(ArgumentError, match="`lr_scheduler` must not have been stepped; got 1"):
        beneath.scheduler(trained, stepped)
    with pytest.raises(ArgumentError, match="`optimizer` must have an option among those of the schedule, alpha"):
        schedule(followed("alpha")).scheduler(trained)
    groups = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.3, 0.5)], lr=0.7)
    with pytest.raises(
        ArgumentError, match=r"`optimizer` must have a group whose 'lr' is 0.1, with which the session b"
    ):
        schedule().scheduler(groups)
    with pytest.raises(ArgumentError, match="`total_steps` must be at least 1"):
        schedule().stretched(0)
    with pytest.raises(ArgumentError, match="`width` must be at least 1; got 0"):
        schedule().smoothed(0)
    with pytest.raises(ArgumentError, match=r"`file` must end in .json or .csv; got"):
        schedule().write(tmp_path / "s.yaml")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(
        ArgumentError, match=r"`file` must be a file that can be written; got .* It is a folder: name a"
    ):
        schedule().write(tmp_path / "folder.csv")
    with pytest.raises(ArgumentError, match=r"`file` must be a file that can be written; .* name a file in a folder"):
        schedule().write(tmp_path / "none" / "s.csv")
    with pytest.raises(ArgumentError, match="`file` must be there"):
        LearnedSchedule.read(tmp_path / "s.json")


DAMAGES = {
    "torn": (lambda told: "{", "`file` must hold a schedule that `LearnedSchedule.write` wrote as .json"),
    "another version": (lambda told: json.dumps({**told, "version": 1}), "`file` must hold a ray_glocal schedule of v"),
    "without steps": (lambda told: json.dumps({**told, "steps": None}), "`file` must hold a schedule that"),
    "infinite": (
        lambda told: json.dumps({**told, "steps": math.inf}),
        "`file` must hold a schedule that `LearnedSched",
    ),
    "a list": (lambda told: "[]", "`file` must hold a schedule that `LearnedSchedule.write` wrote as .json"),
    "beyond the end": (
        lambda told: json.dumps({**told, "steps": 5}),
        "changes of 'lr' at rising steps from 0 to below 5",
    ),
    "no number": (
        lambda told: json.dumps(told).replace("0.4]", "NaN]"),
        "must have a number for each entry of 'lr' at each of its changes",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_holds_no_schedule_is_refused(tmp_path, damage):
    do, words = DAMAGES[damage]
    file = tmp_path / "s.json"
    schedule().write(file)
    file.write_text(do(json.loads(file.read_text())))
    with pytest.raises(ArgumentError, match=words):
        LearnedSchedule.read(file)


def test_a_table_without_its_first_line_is_refused(tmp_path):
    file = tmp_path / "s.csv"
    schedule().write(file)
    file.write_text(file.read_text().partition("\n")[2])
    with pytest.raises(ArgumentError, match="`file` must begin with the line of a ray_glocal schedule"):
        LearnedSchedule.read(file)


def test_its_text_tells_each_hyperparameter():
    assert str(RICH).splitlines() == [
        "Learned schedule of 10 steps, of a and then b; beneath a CosineAnnealingLR of 6 steps",
        "  net/lr: 0.1 -> 0.4, in 2 changes",
        "  mix: [0.2, 0.8] -> [0.7854, 0.2146], in 1 change",
        "  one: 0.5 -> 0.1, in 1 change; the trace holds norms alone: this is the end",
        "  2 further steps were taken back, and are not in it.",
    ]
