"""Experiments as Tune leaves them, whose trials trained with real sessions."""

import json
from types import SimpleNamespace

import torch
from session.first_order import sessions

from ray_glocal.session.adapted import Adapted

from .test_sessions import MANY, trained, weighted
from .witness import Witness

STEPS = 100


class Experiment:
    """Trains trials one after the other, and leaves behind what Tune would."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "experiment_state-2026.json").write_text(json.dumps({"trial_data": []}))

    def trial(
        self,
        name,
        *,
        ancestor=None,
        handed=STEPS,
        features=sessions.FEATURES,
        reports=(STEPS,),
        worse=0.0,
        bad=(),
        many=False,
        **config,
    ):
        """Whose checkpoints are those of its reports; the witness of its training."""
        elder = None if ancestor is None else self.place(ancestor, handed)
        model = sessions.Network()
        model.first = torch.nn.Linear(features, 16)
        hyper = (sessions.rate(1e-3 if ancestor is None else 0.05), *([MANY] if many else []))
        adapted = Adapted(hyper, None if elder is None else SimpleNamespace(as_directory=lambda: _Held(elder)))
        session = sessions.session(adapted, model=model, total_steps=STEPS, train=weighted if many else cut, val=cut)
        session.restore(None)
        witness, rows = Witness(session), []
        place = self.folder / f"train_{name}"
        place.mkdir()
        for until in reports:
            trained(session, until=until, bad=bad, witness=witness)
            session.save(self.place(name, until))
            rows.append({**session.metrics(), "trial_id": name, "training_iteration": until})
            rows[-1]["val_loss"] += worse
        config = {"kind": {"name": "sgd"}, "lr": float(hyper[0].start), **config}
        if ancestor is not None:
            config["glocal_ancestor"] = {"trial": ancestor, "checkpoint": str(elder)}
        (place / "params.json").write_text(json.dumps(config))
        (place / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return witness

    def place(self, name, step):
        return self.folder / f"train_{name}" / f"checkpoint_{step:06d}"


class _Held:
    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        return str(self.folder)

    def __exit__(self, *_):
        pass


def cut(model, batch):
    """The loss of as many features as the model has; beyond all measure where a batch says so."""
    loss = sessions.plain_loss(model, [batch[0][:, : model.first.in_features], batch[1]])
    return loss * (1e4 if batch[2].min() >= 10 else 1.0)


def inherited(witnesses, name):
    """What a trial of the family noted down of the steps that came to the heir."""
    return [note for note in witnesses[name].taken if name != "parent" or note[0] < 60]
