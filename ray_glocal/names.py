"""Names that more than one part reads: keys of metrics, columns of tables, the words in them, and files."""

# What a session reports.
VAL_LOSS, TRAIN_LOSS = "val_loss", "train_loss"
STEP, TOTAL_STEPS = "step", "total_steps"  # inner steps
FINAL_LOSS, FINAL_DEVIATION = "forecast/final_loss", "forecast/deviation"  # of the end of training
POTENTIAL, SEARCHING, ROLLBACKS = "potential", "searching", "rollbacks"
OWN_STEPS, LINEAGE_STEPS = "lineage/own", "lineage/steps"  # that led to its weights
COST_STEPS, COST_SECONDS, COST_SHARE = "cost/steps", "cost/seconds", "cost/share"
WARNING = "warning"  # texts, a line each
AT_BOUND = "ended at its"  # in the text that says so of a hyperparameter
HYPER, ELASTICITY = "hyper/", "elasticity/"  # `entry_key` of a hyperparameter's entry follows

# Columns of a session's trace; `STEP` is one, too.
HYPERPARAMETER, VALUE, LOCAL = "hyperparameter", "value", "local"
FORECAST, DEVIATION = "forecast", "deviation"
GATE, REASON = "gate", "reason"
TRAJECTORY, BACK_TO = "trajectory", "back_to"

# What a gate says where a hyperparameter might have moved, and where training went back.
ACT, ACT_SMALL, HOLD = "act", "act small", "hold"
ROLL_BACK, GO_BACK, RESTART = "roll back", "go back", "restart"

# Columns of the table of decisions; `STEP`, `REASON`, `FORECAST` and `DEVIATION` are some, too.
TRIAL, ACTION, RULE = "trial", "action", "rule"

# Files: in an experiment's folder, and in a session's checkpoint.
LEDGER_FILE = "glocal-ledger.json"  # a root-level *.json, for only such does Tune bring back
DECISIONS_FILE = "decisions.parquet"
SESSION_FILE, TRACE_FILE = "session.pt", "trace.parquet"


def entry_key(label: str) -> str:
    """What keys of metrics call an entry `name[3]`, or the norm `|name|` of many: MLflow takes no brackets and no bars.

    Args:
        label: As the trace has it.

    Returns:
        `name.3`, or `name.norm`; any other label as it is.
    """
    if len(label) > 1 and label[0] == label[-1] == "|":
        return f"{label[1:-1]}.norm"
    name, bracket, place = label.rpartition("[")
    return f"{name}.{place[:-1]}" if bracket and place[:-1].isdecimal() and place[-1] == "]" else label
