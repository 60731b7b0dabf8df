"""A training that falls exponentially to its floor."""

import math

LENGTH = 27


def falling(config, iteration):
    return {"loss": config["floor"] + (1 - config["floor"]) * math.exp(-iteration * config["rate"])}
