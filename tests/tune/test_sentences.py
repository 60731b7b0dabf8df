"""Decisions are told in the user's metric and direction. The truth is a twin: the metric's negative, minimised."""

import re

import numpy as np
import pytest
from ray import tune
from trials import Trial

from ray_glocal.scheduling.rules import RULES
from ray_glocal.scheduling.sentences import in_the_users_terms
from ray_glocal.tune import GlocalScheduler, GlocalSearch

SPACE = {"kind": tune.choice(["a", "b"]), "width": tune.choice([8, 16, 32]), "lr": tune.loguniform(1e-4, 1.0)}
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)(?!\w)")


class Controller:
    """Of Tune, that there is one."""

    search_alg = None


def judged(mode, sign, folder):
    """Sentences of every rule on trials whose metric lies between .4 and .9, or one diverges."""
    rng = np.random.default_rng(0)
    scheduler = GlocalScheduler("val_loss", mode, grace_period=1, rules=tuple(reversed(RULES)))
    controller = Controller()
    (folder / mode).mkdir()
    for i in range(24):
        trial = Trial(f"t{i}", folder / mode, {"width": i}, status="RUNNING")
        scheduler.on_trial_add(controller, trial)
        end = 0.9 - 0.5 * float(rng.random())
        for step in range(1, 9):
            value = end - 0.3 / step
            told = {"val_loss": sign * (np.nan if i == 11 and step == 2 else value), "step": step, "total_steps": 8}
            told |= {"forecast/final_loss": sign * end, "forecast/deviation": 0.01, "potential": [0.0, 0.02][i % 2]}
            if scheduler.on_trial_result(controller, trial, told) == "STOP":
                break
    return [(row["trial"], row["step"], row["rule"], row["forecast"], row["reason"]) for row in scheduler.decisions()]


def proposed(mode, sign, folder):
    search = GlocalSearch(SPACE, "val_loss", mode, seed=1)
    search.set_search_properties(None, None, {}, num_samples=24)
    for i in range(24):
        config = search.suggest(f"t{i}")
        value = 0.5 + 0.4 * config["lr"] + config["width"] / 1000
        result = {"val_loss": sign * value, "training_iteration": 1, "hyper/lr": config["lr"]}
        search.on_trial_result(f"t{i}", result)
        search.on_trial_complete(trial_id=f"t{i}", result=result)
    return [(row["trial"], row["reason"]) for row in search.proposals()]


@pytest.mark.parametrize("told", [judged, proposed])
def test_of_a_maximised_metric_every_sentence_has_the_numbers_of_its_minimised_negative_with_their_signs_turned(
    told, tmp_path
):
    own, twin = told("max", 1.0, tmp_path), told("min", -1.0, tmp_path)
    assert len(own) == len(twin) >= 24
    for (*_, sentence), (*_, negated) in zip(own, twin, strict=True):
        assert not any(number.startswith("-") for number in NUMBER.findall(sentence)), sentence
        assert NUMBER.findall(sentence) == [number.removeprefix("-") for number in NUMBER.findall(negated)]
        assert "loss" not in sentence.replace("val_loss", "")


def test_every_rule_had_its_say(tmp_path):
    assert {rule for _, _, rule, _, _ in judged("max", 1.0, tmp_path)} == set(RULES)


def test_what_a_rung_says_is_what_the_table_has(tmp_path):
    for _, _, rule, forecast, reason in judged("max", 1.0, tmp_path):
        if rule == "rung":
            assert float(re.search(r"the forecast final val_loss (\S+) ", reason)[1]) == pytest.approx(
                forecast, rel=1e-5
            )


SENTENCES = {
    "zero has no sign": (
        "the forecast final loss 0 (optimistically -0.5)",
        "the forecast final accuracy 0 (optimistically 0.5)",
    ),
    "exponents": ("which end at -1.2e-05.", "which are forecast to end at 1.2e-05."),
    "infinity": ("The loss at step 3 is -inf: a trial", "The accuracy at step 3 is inf: a trial"),
    "no number": ("The loss at step 3 is nan: a trial", "The accuracy at step 3 is nan: a trial"),
    "differences stay": (
        "Expected to end at -0.8 +- 0.1, an improvement of 0.02",
        "Expected to end at accuracy 0.8 +- 0.1, an improvement of 0.02",
    ),
    "somebody else's": ("Mine is -0.8.", "Mine is -0.8. (The loss is minus accuracy.)"),
    "without a loss": ("Number 3 of the 6 that cover 6 configurations first.",) * 2,
}


@pytest.mark.parametrize(("sentence", "told"), SENTENCES.values(), ids=SENTENCES)
def test_sentences_of_a_maximised_accuracy(sentence, told):
    assert in_the_users_terms(sentence, "accuracy", "max") == told


def test_a_metric_is_a_name_and_no_pattern():
    assert (
        in_the_users_terms("At rung 1 the forecast final loss 2", r"a\1", "min")
        == r"At rung 1 the forecast final a\1 2"
    )
