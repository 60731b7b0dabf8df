"""Schedules of real sessions, beside what optimizer and session really held step by step."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from session import cases
from session.first_order import sessions

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.schedule import LearnedSchedule
from ray_glocal.session import GlocalSession, Settings

from .witness import Witness, options, same_options

SGD = (sessions.rate(), Hyperparameter("momentum", 0.9, 0.0, 0.99, "logit"))
MANY = Hyperparameter("weights", torch.full((5, 4), 0.5), 0.0, 1.0, "logit")
WEIGHTS = Hyperparameter("weights", torch.ones(sessions.SOURCES) / sessions.SOURCES, scale="simplex")


def one_cycle(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-4, sessions.TOTAL, cycle_momentum=False)


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sessions.TOTAL, eta_min=1e-6)


def warm(optimizer):
    parts = [
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 30),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sessions.TOTAL - 30),
    ]
    return torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [30])


def faulty(model, batch):
    """Beyond all measure where a batch says so."""
    return sessions.plain_loss(model, batch) * (1e4 if batch[2].min() >= 10 else 1.0)


def weighted(model, batch, hyper):
    """A weight for each label and source; beyond all measure as above."""
    weights, factor = hyper["weights"][batch[1], batch[2] % 4], 1e4 if batch[2].min() >= 10 else 1.0
    return factor * (weights * F.cross_entropy(model(batch[0]), batch[1], reduction="none")).sum() / weights.sum()


def trained(session, *, bad=(), until=sessions.TOTAL, noisy=False, witness=None):
    witness = witness or Witness(session)
    for batch in session.batches(sessions.training(noisy=noisy)):
        huge = 10 * any(low <= session.step_count < high for low, high in bad)
        witness.step([batch[0], batch[1], batch[2] + huge])
        if session.step_count == until:
            break
    return witness


def told_as_witnessed(schedule, witness, anew=None):
    """Whether a schedule says at each step what was, and sets a new optimizer's options so."""
    assert schedule.steps == len(witness.taken)
    optimizer, beneath = anew or (None, None)
    scheduler = optimizer and schedule.scheduler(optimizer, beneath)
    for step, (_, held, values) in enumerate(witness.taken):
        for name in schedule.names:
            assert schedule[name].at(step).tolist() == values[name].tolist(), (step, name)
        if scheduler:
            assert same_options(options(optimizer), held), (step, options(optimizer), held)
            assert scheduler.get_last_lr() == [group["lr"] for group in options(optimizer)]
            optimizer.step()
            scheduler.step()
    return True


def anew(kind=torch.optim.SGD, schedule=None, **told):
    optimizer = kind(sessions.Network().parameters(), lr=1e-4, **told)
    return optimizer, None if schedule is None else schedule(optimizer)


CASES = {
    "sgd": (SGD, torch.optim.SGD, None, {"momentum": 0.9}),
    "cosine with a floor": (SGD, torch.optim.SGD, cosine, {"momentum": 0.9}),
    "a warm-up, and a search that goes back": ((sessions.rate(),), torch.optim.AdamW, warm, {}),
    "a search that goes back": ((sessions.rate(),), torch.optim.AdamW, one_cycle, {}),
    "beta1 by another name": (
        (sessions.rate(), Hyperparameter("momentum", 0.8, 0.0, 0.99, "logit")),
        torch.optim.AdamW,
        None,
        {"betas": (0.8, 0.999)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_value_and_each_option_is_what_it_was(case):
    hyper, kind, schedule, told = CASES[case]
    session = sessions.session(hyper, kind, schedule=schedule, options=told)
    witness = trained(session)
    learned = LearnedSchedule.from_session(session)
    assert told_as_witnessed(learned, witness, anew(kind, schedule, **told))
    assert len(learned["lr"].steps) > 5
    assert ("goes back" in case) == bool(witness.returns)
    assert len(learned.passages) == 1 + witness.returns
    assert learned.taken_back == sessions.TOTAL - len(witness.taken)


@pytest.mark.parametrize("schedule", [None, cosine])
def test_steps_that_were_taken_back_are_left_out(schedule):
    session = sessions.session(SGD, train=faulty, schedule=schedule, options={"momentum": 0.9})
    witness = trained(session, bad=((150, 160), (230, 235)))
    assert witness.returns >= 2
    learned = LearnedSchedule.from_session(session)
    assert learned.steps < sessions.TOTAL
    assert told_as_witnessed(learned, witness, anew(schedule=schedule, momentum=0.9))
    assert f"  {sessions.TOTAL - learned.steps} further steps were taken back, and are not in it." in str(learned)


@pytest.mark.parametrize("bad", [(60, 70), (97, 103), (104, 110)])
def test_steps_between_the_last_observation_and_a_good_state_are_in_it(bad):
    """Good states are those of reports, too: training goes back to one that no row of the trace has seen."""
    session = sessions.session(train=faulty, total_steps=120)
    witness = trained(session, bad=(bad,))
    kept = [row for row in session.trace.rows if "to whose weights training goes back" in row.reason]
    assert bool(kept) == (bad == (60, 70))
    assert told_as_witnessed(LearnedSchedule.from_session(session), witness, anew())


def test_a_return_in_the_midst_of_the_search_is_followed():
    session = sessions.session(train=faulty)
    witness = trained(session, bad=((8, 16),))
    assert witness.returns
    assert told_as_witnessed(LearnedSchedule.from_session(session), witness, anew())


@pytest.mark.parametrize("schedule", [None, "one cycle", "chained", "restarts", "cyclic"])
def test_a_session_by_windows_begins_anew_and_is_followed(schedule):
    run = cases.Run("sgd", schedule=schedule)
    session = run.session()
    witness = Witness(session)
    for batch in session.batches(run.loader):
        witness.step(batch)
    learned = LearnedSchedule.from_session(session)
    again = cases.Run("sgd", schedule=schedule)
    assert told_as_witnessed(learned, witness, (again.optimizer, again.scheduler))


def test_hyperparameters_that_losses_read_are_told_entry_by_entry():
    session = sessions.session((sessions.rate(), WEIGHTS), train=sessions.by_source)
    witness = trained(session, noisy=True)
    learned = LearnedSchedule.from_session(session)
    assert told_as_witnessed(learned, witness)
    last = learned.values(learned.steps - 1)["weights"]
    assert last.dtype == torch.float32
    assert last.tolist() == pytest.approx(witness.taken[-1][2]["weights"].tolist())
    assert last.sum() == pytest.approx(1)


@pytest.mark.parametrize("bad", [(), ((150, 160), (230, 235))], ids=["straight on", "back"])
@pytest.mark.parametrize("name", ["s.json", "s.csv"])
def test_many_entries_are_told_with_their_shape_at_each_change(tmp_path, bad, name):
    session = sessions.session((sessions.rate(), MANY), train=weighted)
    witness = trained(session, bad=bad, noisy=True)
    assert bool(witness.returns) == bool(bad)
    learned = LearnedSchedule.from_session(session)
    assert learned.unfollowed == ()
    assert len(learned["weights"].steps) > 5
    assert learned["weights"].values.shape[1:] == MANY.start.shape
    assert told_as_witnessed(learned, witness, anew())
    learned.write(tmp_path / name)
    assert LearnedSchedule.read(tmp_path / name) == learned
    low, high = (f"{end(learned['weights'].values[-1]):.4g}" for end in (np.min, np.max))
    assert f"  weights: 20 entries, 0.5 to 0.5 -> {low} to {high}, in " in str(learned)
    with pytest.raises(ArgumentError, match="`name` must be one of lr, weights; got 'momentum'"):
        learned["momentum"]


def test_a_session_with_many_entries_that_was_resumed_twice_is_told_as_one_that_ran_through(tmp_path):
    """After the second checkpoint it ran on, in vain; it returned before the first."""
    session, taken = sessions.session((sessions.rate(), MANY), train=weighted), []
    for until, bad in ((130, ((90, 97),)), (201, ()), (240, ())):
        witness = Witness(session)
        witness.taken = list(taken)
        trained(session, bad=bad, until=until, witness=witness)
        if until < 240:
            session.save(tmp_path)
            taken = witness.taken
        session = sessions.session((sessions.rate(), MANY), train=weighted)
        session.restore(tmp_path)
    witness = Witness(session)
    witness.taken = taken
    trained(session, witness=witness)
    learned = LearnedSchedule.from_session(session)
    assert learned.taken_back > 0
    assert told_as_witnessed(learned, witness, anew())


def test_of_more_entries_than_a_trace_holds_the_values_of_the_end_stand_at_each_step(monkeypatch, tmp_path):
    """And so it stays where a session goes on from its checkpoint."""
    monkeypatch.setattr("ray_glocal.session.state.trace.MOST_VALUES", 100)
    session = sessions.session((sessions.rate(), MANY), train=weighted)
    witness = trained(session, until=120)
    session.save(tmp_path)
    session = sessions.session((sessions.rate(), MANY), train=weighted)
    session.restore(tmp_path)
    later = Witness(session)
    later.taken = witness.taken
    monkeypatch.setattr("ray_glocal.session.state.trace.MOST_VALUES", 10_000)
    trained(session, until=200, witness=later)
    learned = LearnedSchedule.from_session(session)
    assert learned.unfollowed == ("weights",)
    assert learned["weights"].steps.tolist() == [0]
    assert learned["weights"](0).tolist() == session.values["weights"].tolist()
    assert str(learned).endswith(" in 0 changes; the trace holds norms alone: this is the end")
    for _, _, values in later.taken:
        values["weights"] = session.values["weights"]
    assert told_as_witnessed(learned, later, anew())


def test_groups_keep_their_ratios_and_their_own_hyperparameters():
    def built():
        torch.manual_seed(0)
        model = sessions.Network()
        groups = [
            {"params": model.first.parameters(), "lr": 1e-4, "weight_decay": 0.0},
            {"params": model.last.parameters(), "lr": 3e-4},
        ]
        return model, torch.optim.SGD(groups, lr=1e-4, momentum=0.5, weight_decay=1e-3)

    model, optimizer = built()
    hyper = (sessions.rate(), Hyperparameter("decay", 1e-3, 1e-6, 1.0, "log", field="weight_decay", groups=(1,)))
    told = {"val_batches": sessions.held_out(), "hyper": hyper, "total_steps": 200, "settings": sessions.CALM}
    session = GlocalSession(model, optimizer, sessions.plain_loss, sessions.plain_loss, **told)
    witness = trained(session, until=200)
    again = built()[1]
    assert told_as_witnessed(LearnedSchedule.from_session(session), witness, (again, None))
    assert again.param_groups[1]["lr"] == pytest.approx(3 * again.param_groups[0]["lr"])
    assert again.param_groups[0]["weight_decay"] == 0
    with pytest.raises(ArgumentError, match=r"`optimizer` must have the parameter groups of the session, \(0, 1\), w"):
        LearnedSchedule.from_session(session).scheduler(anew()[0])


def test_a_resumed_session_is_told_as_one_that_ran_through(tmp_path):
    """Its checkpoint is taken amid windows, after a return."""
    first = sessions.session(SGD, train=faulty, options={"momentum": 0.9})
    witness = trained(first, bad=((150, 160),), until=201)
    first.save(tmp_path)
    second = sessions.session(SGD, train=faulty, options={"momentum": 0.9})
    second.restore(tmp_path)
    later = Witness(second)
    later.taken = list(witness.taken)
    trained(second, witness=later)
    assert witness.returns
    assert told_as_witnessed(LearnedSchedule.from_session(second), later, anew(momentum=0.9))


def test_a_session_that_adapts_nothing_has_a_schedule_of_its_start_values():
    session = sessions.session((Hyperparameter("lr", 0.01, 1e-3, 1.0, "log"),), settings=Settings(overhead=1e-6))
    witness = trained(session, until=40)
    learned = LearnedSchedule.from_session(session)
    assert told_as_witnessed(learned, witness, anew())
    assert str(learned) == "Learned schedule of 40 steps\n  lr: 0.01 -> 0.01, in 0 changes"


def test_before_its_first_step_a_session_has_none():
    learned = LearnedSchedule.from_session(sessions.session())
    assert learned.steps == 0
    assert learned["lr"](0) == 1e-4


def test_a_trace_that_does_not_tell_where_training_went_back_is_refused():
    session = sessions.session(train=faulty)
    trained(session, bad=((150, 160),), until=170)
    place = next(i for i, row in enumerate(session.trace.rows) if row.gate == "roll back")
    held = vars(session.trace.rows[place])
    session.trace.rows[place] = type(session.trace.rows[place])(**{**held, "back_to": None})
    with pytest.raises(ArgumentError, match="`trace` must tell the step to which training went back at step 152; got"):
        LearnedSchedule.from_session(session)
    session.trace.rows[place] = type(session.trace.rows[place])(**{**held, "hyperparameter": "rate"})
    with pytest.raises(ArgumentError, match="`trace` must have a row for each of lr at each window; got"):
        LearnedSchedule.from_session(session)


@pytest.mark.parametrize("train", [None, weighted], ids=["options", "and many entries"])
def test_the_network_is_trained_to_the_same_weights(tmp_path, train):
    """Without a return the steps are the very same, so the weights are, but for rounding of rates."""
    hyper, loss = (SGD, sessions.plain_loss) if train is None else ((*SGD, MANY), train)
    session = sessions.session(hyper, schedule=cosine, options={"momentum": 0.9}, train=loss)
    witness = trained(session)
    assert not witness.returns
    LearnedSchedule.from_session(session).write(tmp_path / "s.json")
    learned = LearnedSchedule.read(tmp_path / "s.json")
    torch.manual_seed(0)
    model = sessions.Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    scheduler = learned.scheduler(optimizer, cosine(optimizer))
    loader, done = sessions.training(), 0
    while done < learned.steps:
        for batch in loader:
            optimizer.zero_grad()
            loss(model, batch, *(() if train is None else (learned.values(done),))).backward()
            optimizer.step()
            scheduler.step()
            done += 1
    for mine, theirs in zip(model.parameters(), session.problem.model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)
