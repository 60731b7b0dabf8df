"""The launcher's file on an imitated EC2: Ray makes nothing that was not named, and launches what was meant."""

from types import SimpleNamespace

import pytest
import yaml

from .files import CLUSTER

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # warnings of boto3 and moto
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """What was there before and after, and the machines that came of it, by their kind."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        (home / ".ssh").mkdir()
        for name, value in (("HOME", str(home)), ("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")):
            patch.setenv(name, value)
        with moto.mock_aws():
            yield launch(boto3.client("ec2", region_name=REGION), boto3.client("iam", region_name=REGION))


def launch(ec2, iam):
    from ray.autoscaler._private.providers import _get_node_provider_cls
    from ray.autoscaler._private.util import prepare_config, validate_config

    configuration = prepare_config(yaml.safe_load(filled_in(ec2, iam)))
    validate_config(configuration)
    before = protections(ec2, iam)
    provider_class = _get_node_provider_cls(configuration["provider"])
    configuration = provider_class.bootstrap_config(configuration)
    provider = provider_class(configuration["provider"], configuration["cluster_name"])
    for kind, node in configuration["available_node_types"].items():
        provider.create_node(node["node_config"], {"ray-user-node-type": kind}, 1)
    machines = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
    kinds = {tags(machine)["ray-user-node-type"]: machine for machine in machines}
    return SimpleNamespace(before=before, after=protections(ec2, iam), machines=kinds)


def filled_in(ec2, iam):
    """The file as people fill it in."""
    for role in ("head", "worker"):
        iam.create_instance_profile(InstanceProfileName=f"ray-glocal-{role}")
    group = ec2.create_security_group(GroupName="ray-glocal", Description="any")["GroupId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    return (CLUSTER / "aws.yaml").read_text().replace("ami-REPLACE", image).replace("sg-REPLACE", group)


def protections(ec2, iam):
    groups = ec2.describe_security_groups()["SecurityGroups"]
    ingress = [(group["GroupName"], str(group["IpPermissions"])) for group in groups]
    return ingress, iam.list_roles()["Roles"], iam.list_instance_profiles()["InstanceProfiles"]


def tags(machine):
    return {tag["Key"]: tag["Value"] for tag in machine["Tags"]}


def test_ray_makes_no_role_and_opens_no_port(launched):
    assert launched.after == launched.before


def test_one_machine_of_each_kind_is_launched(launched):
    assert set(launched.machines) == {"head", "worker"}


def test_only_the_worker_is_a_spot_machine(launched):
    kinds = {kind: machine.get("InstanceLifecycle") for kind, machine in launched.machines.items()}
    assert kinds == {"head": None, "worker": "spot"}


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_machines_are_closed_named_and_of_their_role(launched, kind):
    machine = launched.machines[kind]
    assert [group["GroupName"] for group in machine["SecurityGroups"]] == ["ray-glocal"]
    assert machine["IamInstanceProfile"]["Arn"].endswith(f"/ray-glocal-{kind}")
    assert tags(machine)["ray-cluster-name"] == "ray-glocal"  # what the head's policy speaks of
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
