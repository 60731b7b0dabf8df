"""Launcher files: valid to Ray, and closed, pinned and safe from spot losses, which Ray's schema does not ask for."""

import copy
import re
import shlex

import jsonschema
import pytest
from nodes.node import NO_METRICS
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from .files import CLOUDS, DOCKERFILE, LAUNCHERS, ROOT, SLURM, images, start_commands

EVERY = pytest.mark.parametrize("name", LAUNCHERS)
CLOUD = pytest.mark.parametrize("name", CLOUDS)


def workers(name):
    launcher = CLOUDS[name]
    return {kind: node for kind, node in launcher["available_node_types"].items() if kind != launcher["head_node_type"]}


def head(name):
    return CLOUDS[name]["available_node_types"][CLOUDS[name]["head_node_type"]]


def is_spot(name, node):
    configuration = node["node_config"]
    if name == "aws":
        return configuration.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    return configuration.get("scheduling", {}).get("provisioningModel") == "SPOT"


@EVERY
def test_ray_takes_it(name):
    validate_config(prepare_config(copy.deepcopy(LAUNCHERS[name])))


def test_ray_would_refuse_a_misspelt_field():
    with pytest.raises(jsonschema.ValidationError, match="idle_timout_minutes"):
        validate_config(prepare_config(LAUNCHERS["aws"] | {"idle_timout_minutes": 10}))


@EVERY
def test_images_are_pinned_to_one_version_of_ray_and_python(name):
    (pinned,) = re.findall(r"^ARG RAY_IMAGE=rayproject/ray:(2\.60\.\d+-py311)-cpu$", DOCKERFILE, re.MULTILINE)
    assert images(LAUNCHERS[name])
    assert all(
        image.removesuffix("-gpu").removesuffix("-cpu").endswith(f":{pinned}") for image in images(LAUNCHERS[name])
    )


@EVERY
def test_torch_is_the_one_that_is_tested_here(name):
    (tested,) = re.findall(r"torch==[\d.]+", (ROOT / "Makefile").read_text())
    assert sum(tested in command for command in LAUNCHERS[name]["setup_commands"]) == 1


@EVERY
@pytest.mark.parametrize("kind", ["head", "worker"])
def test_ray_knows_every_option_of_the_start_commands(name, kind):
    words = shlex.split(start_commands(LAUNCHERS[name], kind))
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    assert given <= {option for parameter in start.params for option in parameter.opts}


@EVERY
@pytest.mark.parametrize("kind", ["head", "worker"])
def test_a_token_is_asked_for_on_every_node(name, kind):
    assert start_commands(LAUNCHERS[name], kind).startswith("RAY_AUTH_MODE=token ")


@EVERY
def test_whatever_runs_in_the_container_knows_of_the_token(name):
    launcher = LAUNCHERS[name]
    assert "--env RAY_AUTH_MODE=token" in launcher["docker"]["run_options"]
    assert launcher["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any(command.startswith("test -r ~/.ray/auth_token ") for command in launcher["setup_commands"])


@EVERY
def test_the_dashboard_listens_on_loopback(name):
    assert "--dashboard-host=127.0.0.1" in start_commands(LAUNCHERS[name], "head").split()


@EVERY
def test_containers_are_stripped_of_rights(name):
    options = LAUNCHERS[name]["docker"]["run_options"]
    assert {"--cap-drop=ALL", "--security-opt=no-new-privileges"} <= set(options)
    assert not any("--privileged" in option or "--user" in option for option in options)


@EVERY
def test_nodes_join_the_head_by_its_port(name):
    launcher = LAUNCHERS[name]
    assert "--port=6379" in start_commands(launcher, "head").split()
    assert "--address=$RAY_HEAD_IP:6379" in start_commands(launcher, "worker").split()
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start_commands(launcher, "head")


def test_ports_of_the_machines_at_hand_are_fixed_and_distinct():
    for kind in ("head", "worker"):
        ports = dict(re.findall(r"--([\w-]*port)=(\d+)", start_commands(LAUNCHERS["on-premise"], kind)))
        assert len({*ports.values(), "6379", "8265", "10001"}) == len(ports) + (2 if kind == "head" else 3)
        assert not any(11000 < int(port) < 11999 for port in ports.values())
        assert {"node-manager-port", "object-manager-port", "min-worker-port", "max-worker-port"} <= set(ports)


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_machines_at_hand_answer_nobody_without_a_token(kind):
    """No firewall stands before them: what `tests/nodes` finds closed is closed by these, and open by no other flag."""
    command = start_commands(LAUNCHERS["on-premise"], kind)
    off = {f"{name}={value}" for name, value in NO_METRICS.items()}
    assert set(shlex.split(command)) & off == (off if kind == "head" else {"RAY_enable_metrics_collection=0"})
    assert off <= set(SLURM.read_text().split())


def test_all_machines_at_hand_are_used_since_none_can_be_ordered():
    launcher = LAUNCHERS["on-premise"]
    assert " RAY_enable_autoscaler_v2=0 " in start_commands(launcher, "head")
    assert launcher["min_workers"] == launcher["max_workers"] == len(launcher["provider"]["worker_ips"])


@CLOUD
def test_workers_come_when_they_are_needed_and_are_spot(name):
    assert workers(name)
    for node in workers(name).values():
        assert is_spot(name, node)
        assert node["min_workers"] == 0 < node["max_workers"] <= CLOUDS[name]["max_workers"]
        assert node["resources"]["GPU"] >= 1


@CLOUD
def test_the_head_is_on_demand_and_runs_no_trials(name):
    assert not is_spot(name, head(name))
    assert head(name)["resources"] == {"CPU": 0, "GPU": 0}


@CLOUD
def test_ended_workers_cost_nothing(name):
    assert CLOUDS[name]["provider"]["cache_stopped_nodes"] is False
    assert 0 < CLOUDS[name]["idle_timeout_minutes"] <= 30


@CLOUD
def test_head_and_workers_have_named_roles_of_their_own(name):
    roles = [account(name, node) for node in (head(name), *workers(name).values())]
    assert all("ray-glocal" in role for role in roles)
    assert len(set(roles)) == len(roles)


def account(name, node):
    configuration = node["node_config"]
    if name == "aws":
        return configuration["IamInstanceProfile"]["Name"]
    (given,) = configuration["serviceAccounts"]
    return given["email"]


def test_security_groups_are_given_since_those_that_ray_makes_are_open_to_ssh():
    for node in LAUNCHERS["aws"]["available_node_types"].values():
        assert len(node["node_config"]["SecurityGroupIds"]) == 1
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])


def test_machines_of_google_carry_the_tag_of_the_firewall_rules():
    for node in LAUNCHERS["gcp"]["available_node_types"].values():
        assert node["node_config"]["tags"] == {"items": ["ray-glocal"]}
        assert all("subnetworks/ray-glocal" in net["subnetwork"] for net in node["node_config"]["networkInterfaces"])
