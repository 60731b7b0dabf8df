"""Names that more than one part reads: keys of metrics, columns of tables, the words in them, and files."""

# What a session reports.
VAL_LOSS, TRAIN_LOSS = "val_loss", "train_loss"
STEP, TOTAL_STEPS = "step", "total_steps"  # inner steps
FINAL_LOSS, FINAL_DEVIATION = "forecast/final_loss", "forecast/deviation"  # of the end of training
POTENTIAL, SEARCHING, ROLLBACKS = "potential", "searching", "rollbacks"
WINDOWS = "windows"  # or observations: how many hypergradients there were
OWN_STEPS, LINEAGE_STEPS = "lineage/own", "lineage/steps"  # that led to its weights
COST_STEPS, COST_SECONDS = "cost/steps", "cost/seconds"
COST_SHARE, COST_OVERHEAD = "cost/share", "cost/overhead"
WARNINGS, WARNING = "warnings", "warning"  # how many, and their texts, a line each
AT_BOUND = "ended at its"  # in the text that says so of a hyperparameter
HYPER, ELASTICITY = "hyper/", "elasticity/"  # `entry_key` of a hyperparameter's entry follows

# Columns of a session's trace; `STEP` is one, too.
HYPERPARAMETER, VALUE, LOCAL = "hyperparameter", "value", "local"
FORECAST, DEVIATION = "forecast", "deviation"
GATE, REASON = "gate", "reason"
TRAJECTORY, BACK_TO, ENTRIES = "trajectory", "back_to", "entries"

# What a gate says where a hyperparameter might have moved, and where training went back.
ACT, ACT_SMALL, HOLD = "act", "act small", "hold"
ROLL_BACK, GO_BACK, RESTART = "roll back", "go back", "restart"

# Columns of the table of decisions; `STEP`, `REASON`, `FORECAST` and `DEVIATION` are some, too.
TRIAL, ACTION, RULE = "trial", "action", "rule"

# Files: in an experiment's folder, and in a session's checkpoint.
LEDGER_FILE = "glocal-ledger.json"  # a root-level *.json, for only such does Tune bring back
DECISIONS_FILE = "decisions.parquet"
SESSION_FILE, TRACE_FILE = "session.pt", "trace.parquet"

# Settings of a ledger: `SIGN` and the metric that is optimised, with what turns it into a loss, 1 or -1.
SIGN = "sign/"

# What Tune itself writes: keys of results, how its files, its folders and each failure in its error file begin.
TRAINING_ITERATION, TIMESTEPS = "training_iteration", "timesteps_total"
EXPERIMENT_STATE, SEARCHER_STATE, CHECKPOINT = "experiment_state-", "searcher-state-", "checkpoint_"
FAILURE = "Failure # "


def entry_labels(name: str, size: int) -> tuple[str, ...]:
    """A name for each of the `size` entries of a hyperparameter: `name[3]`, or its own where it is one number."""
    return (name,) if size == 1 else tuple(f"{name}[{place}]" for place in range(size))


def norm_label(name: str) -> str:
    """What stands for all entries of a hyperparameter of many: `|name|`."""
    return f"|{name}|"


def entry_key(label: str) -> str:
    """What keys of metrics call an entry, or the norm of many: MLflow takes no brackets and no bars.

    Args:
        label: Of `entry_labels` or `norm_label`.

    Returns:
        `name.3`, or `name.norm`; any other label as it is.
    """
    if len(label) > 1 and label[0] == label[-1] == "|":
        return f"{label[1:-1]}.norm"
    name, bracket, place = label.rpartition("[")
    return f"{name}.{place[:-1]}" if bracket and place[:-1].isdecimal() and place[-1] == "]" else label
