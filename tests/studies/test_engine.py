"""The study of the engine: every mode and every peer has the answer of an unroll by hand, and the page is written."""

import sys
from dataclasses import replace

import pytest
import torch

import engine
import windows.cells
from study import study
from windows import accelerator, large, limit, whole
from windows.inner import EVERY, inner
from windows.large import LARGE
from windows.modes import HOST, MODES, ROUNDING, TOLERANCES
from windows.networks import NETWORKS
from windows.peers import PEERS

SETTING = engine.Setting("cpu", 1, 2**30)
CELL = engine.Cell("peers", "mlp", 1 / 16, "sgd", "options 3", 4, ("unroll", *MODES), 1, SETTING)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("optimizer", "hyper"), [("sgd", "options 3"), ("adamw", "options 3"), ("adamw", "weights 90")]
)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_mode_has_the_answer_of_the_unroll(network, optimizer, hyper):
    told = inner(network, 1 / 16, optimizer, hyper, 2, dtype=torch.float64)
    truth = engine.differentiated(engine.way("unroll"), told)
    assert truth.abs().max() > 1e-6
    for name in MODES:
        assert engine.distance(told.problem, engine.differentiated(engine.way(name), told), truth) < TOLERANCES.get(
            name, ROUNDING
        )


@pytest.mark.parametrize("name", MODES)
def test_strengths_of_penalties_add_up_to_weight_decay(name):
    apart = inner("mlp", 1 / 32, "sgd", "strengths", 5, dtype=torch.float64)
    whole = inner("mlp", 1 / 32, "sgd", "options 3", 5, dtype=torch.float64)
    apart.problem.optimizer.param_groups[0]["weight_decay"] -= float(apart.problem.start_values()["strengths"][0])
    each = engine.differentiated(engine.way(name), apart)
    total = engine.differentiated(engine.way("unroll"), whole)[2]
    assert float(each.sum()) == pytest.approx(float(total), rel=TOLERANCES.get(name, ROUNDING))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", [name for name in PEERS if name != "unroll"])
def test_a_peer_has_the_answer_of_the_unroll(name, network):
    if not PEERS[name].installed:
        pytest.skip(f"pip install {PEERS[name].requirement}")
    engine.check(replace(CELL, network=network, length=2, ways=("unroll", name)))


def test_scale_goes_from_ten_thousand_parameters_up():
    counts = {name: [inner(name, s, "sgd", "options 1", 1).parameters for s in engine.SIZES[name]] for name in NETWORKS}
    assert all(5_000 < found[0] < 20_000 and found == sorted(found) for found in counts.values())
    assert inner("mlp", 1, "sgd", "options 1", 1).parameters == 269_322


def test_another_answer_stops_the_study(monkeypatch):
    doubled = lambda *window: replace(t := MODES["recomputed"](*window), derivatives=2 * t.derivatives)  # noqa: E731
    monkeypatch.setitem(MODES, "doubled", doubled)
    with pytest.raises(AssertionError, match="doubled is 1 from unroll in float64"):
        engine.run(replace(CELL, ways=("unroll", "doubled")))


def test_what_does_not_fit_is_foreseen_and_not_run():
    told = replace(CELL, length=12, ways=("unroll",))
    size = engine.run(told)[0]["growth"]
    (row,) = engine.run(replace(told, setting=replace(SETTING, memory=int(size / 2))))
    assert not row["fits"]
    assert row["growth"] == pytest.approx(size, rel=0.05)
    assert (engine.steps(row), engine.mebibytes(row)[:2]) == ("over", "> ")


def test_a_peer_that_is_missing_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(PEERS, "none", replace(PEERS["unroll"], requirement="not_there==1.0"))
    assert "- `none` is left out: `pip install not_there==1.0` brings it." in engine.left_out()
    assert "none" not in next(engine.beside_peers(SETTING, ())).ways


def test_the_page_of_a_short_run(tmp_path, monkeypatch):
    said = ["--smoke", "--workers", "1", "--out", str(tmp_path), "--parts", "price,peers"]
    monkeypatch.setattr(sys, "argv", ["engine.py", *said])
    engine.main(study("engine", None, **engine.options()))
    page = (tmp_path / "README.md").read_text()
    assert "engine.py --smoke --parts price,peers" in page
    assert page.count("| mlp | 4 |") == 3
    assert (tmp_path / "rows.parquet").exists()


def test_the_large_networks_are_as_large_as_they_say():
    counts = [sum(p.numel() for p in network.make(1).parameters()) for network in LARGE.values()]
    assert counts == [11_173_962, 50_525_184]


@pytest.mark.parametrize(("network", "precision"), [("resnet", "tf32"), ("gpt", "bf16"), ("mlp", "float32")])
def test_the_part_for_accelerators_runs_at_a_small_scale(network, precision, monkeypatch):
    monkeypatch.setitem(EVERY, network, replace(EVERY[network], batch=8))
    for module, name, value in ((large, "TOKENS", 64), (large, "CONTEXT", 16), (large, "DEPTH", 2)):
        monkeypatch.setattr(module, name, value)
    for module in (accelerator, windows.cells):
        monkeypatch.setattr(module, "PLAIN", 2)
    cells = list(accelerator.cells(SETTING, tuple(MODES)))
    (cell,) = (c for c in cells if (c.network, c.precision) == (network, precision))
    rows = accelerator.run(replace(cell, scale=1 / 16, length=2, repetitions=1))
    assert [row["way"] for row in rows] == list(cell.ways)
    assert all(row["fits"] and row["error"] < 0.05 for row in rows)
    page = "\n\n".join(accelerator.section([*rows, {**rows[0], "fits": False}]))
    assert page.count(f"| {network} |") == len(rows) + 1
    assert "| over |" in page


def test_what_an_accelerator_alone_can_do_is_asked_of_one_alone():
    assert "accelerator" not in engine.asked_for("all", "cpu")
    assert engine.asked_for("all", "cuda") == [part for part in engine.PARTS if part != "limits"]
    beside = list(accelerator.cells(replace(SETTING, device="cuda"), tuple(MODES)))
    assert all(set(HOST) <= set(cell.ways) or cell.precision == "float32" for cell in beside)


def test_products_of_a_window_are_counted_as_by_hand(monkeypatch):
    """Three linear layers: 8 in a plain step, as in the outer gradient, and 14 in a Hessian product but the first."""
    monkeypatch.setattr(limit, "PLAIN", 2)
    monkeypatch.setattr(windows.cells, "PLAIN", 2)
    (cell,) = (c for c in limit.cells(SETTING, ()) if c.network == "mlp")
    rows = {row["way"]: row for row in limit.run(replace(cell, scale=1 / 16, length=4, repetitions=2))}
    plain, hessian = 8, 14
    once = (4 + 1) * plain + 3 * hessian
    assert {row["plain products"] for row in rows.values()} == {plain}
    assert rows["unroll"]["products"] * 4 == once
    assert rows["kept"]["products"] * 4 == once + plain  # a window's first step is taken twice
    assert rows["recomputed"]["products"] * 4 == once + 4 * plain
    assert rows["unroll"]["count"] < rows["kept"]["count"] < rows["recomputed"]["count"]
    *_, table, told = limit.section(list(rows.values()))
    assert "| mlp | unroll | 8 |" in table
    share = rows["unroll"]["share"]
    assert 0 < share < 1
    assert f"the limit is {share * rows['unroll']['count'] + 1 - share:.2f}" in told


def test_attention_and_what_writes_in_place_are_counted():
    query = torch.randn(1, 2, 4, 3)
    q, k, v = (query.clone().requires_grad_() for _ in range(3))
    with limit.Products() as found:
        torch.nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
    assert found.products == 2 + 5
    assert found.operations == 7 * 2 * (2 * 4 * 4 * 3)
    with limit.Products() as found:
        torch.zeros(2, 3).addmm_(torch.randn(2, 4), torch.randn(4, 3))
        torch.relu(torch.randn(3))
    assert (found.products, found.operations) == (1, 2 * 2 * 4 * 3)


def test_a_whole_session_is_timed_between_plain_trainings():
    (cell,) = (c for c in whole.cells(SETTING, ()) if c.network == "mlp")
    rows = whole.run(replace(cell, scale=1 / 16, length=60))
    assert [row["way"] for row in rows] == list(whole.BUDGETS)
    assert all(row["ratio"] > 0 and row["own"] > 0 for row in rows)
    assert "| mlp | 0.25 |" in "".join(whole.section(rows))
