"""Rights in the clouds: exactly those that are needed, on what belongs to the cluster."""

import re

from .files import CLUSTER, LAUNCHERS, POLICIES, README

CLUSTER_NAME = LAUNCHERS["aws"]["cluster_name"]


def statements(name):
    return POLICIES[name]["Statement"]


def actions(name):
    found = [statement["Action"] for statement in statements(name)]
    return {action for given in found for action in ([given] if isinstance(given, str) else given)}


def test_the_head_may_do_what_the_autoscaler_calls_and_no_more():
    assert actions("head-policy") == {
        "ec2:DescribeInstances",
        "ec2:RunInstances",
        "ec2:CreateTags",
        "ec2:TerminateInstances",
        "iam:PassRole",
    }


def test_the_head_ends_only_machines_of_its_cluster():
    (ending,) = [s for s in statements("head-policy") if "ec2:TerminateInstances" in s["Action"]]
    assert ending["Condition"] == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": CLUSTER_NAME}}


def test_the_head_starts_only_machines_of_its_cluster():
    starting = [s for s in statements("head-policy") if s["Action"] == "ec2:RunInstances"]
    (conditional,) = [s for s in starting if "Condition" in s]
    assert conditional["Resource"] == "arn:aws:ec2:*:*:instance/*"
    assert conditional["Condition"] == {"StringEquals": {"aws:RequestTag/ray-cluster-name": CLUSTER_NAME}}
    others = [s["Resource"] for s in starting if s is not conditional]
    assert not any("instance/" in resource for resources in others for resource in resources)


def test_the_head_hands_on_the_workers_role_alone():
    (handing,) = [s for s in statements("head-policy") if s["Action"] == "iam:PassRole"]
    assert handing["Resource"] == "arn:aws:iam::*:role/ray-glocal-worker"
    assert handing["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}


def test_storage_is_one_bucket():
    assert actions("storage-policy") == {
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
    }
    assert {s["Resource"] for s in statements("storage-policy")} == {"arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"}


def test_no_right_is_given_by_a_wildcard():
    for name in POLICIES:
        assert not any("*" in action for action in actions(name))
        assert {s["Effect"] for s in statements(name)} == {"Allow"}


def test_everything_is_only_listed():
    everything = [s["Action"] for name in POLICIES for s in statements(name) if s.get("Resource") == "*"]
    assert everything == ["ec2:DescribeInstances"]


def test_roles_are_for_machines():
    (trust,) = statements("trust-policy")
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert trust["Action"] == "sts:AssumeRole"


def test_the_role_at_google_holds_no_rights_on_accounts_or_networks():
    role = (CLUSTER / "gcp" / "head-role.yaml").read_text()
    rights = re.findall(r"^  - (\S+)$", role, re.MULTILINE)
    assert {"compute.instances.create", "compute.instances.delete", "compute.zoneOperations.get"} <= set(rights)
    assert all(right.startswith("compute.") for right in rights)
    assert not any(right.split(".")[1] in {"firewalls", "networks", "projects"} for right in rights)


def test_the_readme_makes_every_role_that_is_named():
    for name in ("head-policy.json", "storage-policy.json", "trust-policy.json", "head-role.yaml"):
        assert name in README
