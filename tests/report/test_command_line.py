"""The command line: what it prints, and what it returns."""

import json
import subprocess
import sys

import pytest
import recordings

from ray_glocal.__main__ import main
from ray_glocal.report.page import document


def test_report_prints_the_account(tmp_path, capsys):
    folder = str(recordings.judged(tmp_path / "mine"))
    assert main(["report", folder]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("mine: 6 trials")
    assert err == ""
    assert main(["report", folder, "--trials", "1", "--metric", "step", "--mode", "max"]) == 0
    assert "largest step wins" in capsys.readouterr().out


def test_report_writes_the_page_beside_the_results_and_says_where(tmp_path, capsys):
    folder = recordings.judged(tmp_path / "mine")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.endswith(f"Page: {folder / 'report.html'}\n")
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert main(["report", str(folder)]) == 0  # the page in the folder is no part of the experiment


def test_report_writes_page_data_and_study_where_it_is_told(tmp_path, capsys):
    folder = recordings.judged(tmp_path / "mine")
    files = {kind: str(tmp_path / f"told.{kind}") for kind in ("html", "json", "optuna")}
    assert main(["report", str(folder), *(word for kind, file in files.items() for word in (f"--{kind}", file))]) == 0
    out = capsys.readouterr().out
    assert all(
        word in out for word in (f"Page: {files['html']}", f"Data: {files['json']}", f"Study: {files['optuna']}")
    )
    assert json.loads((tmp_path / "told.json").read_text())["headline"].startswith("6 trials")
    assert not (folder / "report.html").exists()


def test_whoever_reads_may_end_early_and_the_page_is_there(tmp_path):
    folder = recordings.judged(tmp_path / "mine")
    command = [sys.executable, "-m", "ray_glocal", "report", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # as `head` does
        assert process.stderr.read() == b""
        assert process.wait() == 0
    assert (folder / "report.html").exists()


def test_a_refused_number_of_trials_leaves_no_page(tmp_path, capsys):
    folder = recordings.judged(tmp_path / "mine")
    assert main(["report", str(folder), "--trials", "-2"]) == 2
    assert capsys.readouterr().err.endswith(
        "`trials` must be 0 or more; got -2. So many are listed at most, the best ones.\n"
    )
    assert not (folder / "report.html").exists()


def test_report_writes_no_page_where_none_is_wanted(tmp_path, capsys):
    folder = recordings.judged(tmp_path / "mine")
    assert main(["report", str(folder), "--no-html"]) == 0
    assert "Page" not in capsys.readouterr().out
    assert not (folder / "report.html").exists()


def test_without_plotly_the_text_comes_and_a_line_says_how_to_get_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(document, "drawable", lambda: False)
    folder = recordings.judged(tmp_path / "mine")
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mine: 6 trials")
    assert out.endswith("which plotly draws. Install it with: pip install 'plotly>=6'\n")
    assert main(["report", str(folder), "--html", str(tmp_path / "page.html")]) == 2
    assert "`html` must be asked for where plotly is installed" in capsys.readouterr().err


def test_compare_prints_the_table(tmp_path, capsys):
    folders = [str(recordings.judged(tmp_path / "mine")), str(recordings.stock(tmp_path / "asha"))]
    assert main(["compare", *folders]) == 0
    assert "trials pruned or ended early" in capsys.readouterr().out


def test_replay_returns_one_at_a_difference(tmp_path, capsys):
    folder = recordings.judged(tmp_path)
    assert main(["replay", str(folder)]) == 0
    assert "Every decision comes out as recorded." in capsys.readouterr().out
    ledger = folder / "glocal-ledger.json"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    next(row for row in rows if row.get("event") == "decision")["action"] = "stop"
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["replay", str(folder)]) == 1
    assert "First difference: trial a at step 1: the ledger records stop" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["report", "replay", "compare"])
def test_what_is_no_experiment_returns_two_and_one_sentence(tmp_path, capsys, command):
    assert main([command, str(tmp_path), *([str(tmp_path)] if command == "compare" else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        f"python -m ray_glocal {command}: `results` must be the folder of an experiment; got '{tmp_path}"
    )
    assert err.count("\n") == 1


def test_one_experiment_is_too_few_to_compare(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 2
    assert "Use `report` to look at one." in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["report"], ["nothing", "x"], ["report", "x", "--trials", "y"]])
def test_argparse_refuses_the_rest(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m ray_glocal" in capsys.readouterr().err


def test_reading_results_loads_neither_torch_nor_ray(tmp_path):
    folder = recordings.judged(tmp_path / "mine")
    program = (
        "import sys; from ray_glocal.__main__ import main; "
        f"main(['report', {str(folder)!r}]); print({{'ray', 'torch'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_the_module_runs_and_leaves_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ray_glocal", "report", str(tmp_path / "none")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "There is none. Give the folder that holds experiment_state-*.json" in done.stderr
