"""Kubernetes manifests: valid, not root's, limited, closed to other pods, and restored after a retry."""

import copy
import shlex

import jsonschema
import kubernetes_validate
import pytest

from .files import MANIFESTS, clusters, templates
from .kuberay import SCHEMAS

EVERY = pytest.mark.parametrize("name", templates())
RAY = pytest.mark.parametrize("name", ["raycluster", "rayjob"])
CORE = [document for document in MANIFESTS["namespace"] if document["kind"] != "RayCluster"]
VERSION = "1.34"


def strictly(document):
    return kubernetes_validate.validate(document, VERSION, strict=True)


def pod(template):
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template}


@RAY
def test_kuberay_takes_it(name):
    (manifest,) = MANIFESTS[name]
    jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])


def test_kuberay_would_refuse_a_misspelt_field():
    manifest = copy.deepcopy(MANIFESTS["rayjob"][0])
    manifest["spec"]["rayClusterSpec"]["authOption"] = {"mode": "token"}
    with pytest.raises(jsonschema.ValidationError, match="authOption"):
        jsonschema.validate(manifest, SCHEMAS["RayJob"])


@EVERY
def test_kubernetes_takes_the_pods(name):
    strictly(pod(templates()[name]))


def test_kubernetes_would_refuse_a_misspelt_field():
    template = copy.deepcopy(templates()["raycluster: head"])
    template["spec"]["containers"][0]["securityContexts"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="securityContexts"):
        strictly(pod(template))


@pytest.mark.parametrize("document", CORE, ids=lambda document: document["kind"])
def test_kubernetes_takes_what_surrounds_the_cluster(document):
    strictly(document)


@EVERY
def test_no_pod_is_root_or_can_become_it(name):
    spec = templates()[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@RAY
def test_nor_is_the_autoscaler(name):
    options = clusters()[name]["autoscalerOptions"]
    assert options["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert options["resources"]["limits"]


def test_the_namespace_admits_no_other_pods():
    (namespace,) = [document for document in CORE if document["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@EVERY
def test_every_container_is_pinned_and_limited(name):
    for container in templates()[name]["spec"]["containers"]:
        tag = container["image"].rpartition(":")[2]
        assert tag.removesuffix("-cpu").removesuffix("-gpu") == "0.1.0"
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


@RAY
def test_a_token_is_asked_for_and_made_by_the_operator(name):
    assert clusters()[name]["authOptions"] == {"mode": "token"}
    assert clusters()[name]["rayVersion"] == "2.60.0"


@RAY
def test_workers_come_when_they_are_needed_with_a_gpu(name):
    spec = clusters()[name]
    assert spec["enableInTreeAutoscaling"] is True
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == 0 < group["maxReplicas"]
        assert all(c["resources"]["limits"]["nvidia.com/gpu"] == "1" for c in group["template"]["spec"]["containers"])


@RAY
def test_workers_may_be_spot_and_the_head_may_not(name):
    spec = clusters()[name]
    (group,) = spec["workerGroupSpecs"]
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= {
        t["key"] for t in group["template"]["spec"]["tolerations"]
    }
    head = spec["headGroupSpec"]["template"]["spec"]
    assert "tolerations" not in head
    (term,) = head["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {rule["operator"] for rule in term["matchExpressions"]} == {"DoesNotExist", "NotIn"}


@RAY
def test_the_head_runs_no_trials(name):
    assert clusters()[name]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_nobody_but_its_own_pods_and_the_operator_reaches_the_cluster():
    (policy,) = [document["spec"] for document in CORE if document["kind"] == "NetworkPolicy"]
    ours = {"matchLabels": {"app.kubernetes.io/part-of": "ray-glocal"}}
    assert policy["podSelector"] == ours
    assert policy["policyTypes"] == ["Ingress"]
    own, operator = policy["ingress"]
    assert own == {"from": [{"podSelector": ours}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert set(operator["from"][0]) == {"namespaceSelector", "podSelector"}  # in one entry: both must hold


@EVERY
def test_every_pod_is_under_the_policy(name):
    assert templates()[name]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "ray-glocal"


def test_the_dashboard_listens_on_loopback_where_nobody_else_has_to_ask_it():
    params = {name: spec["headGroupSpec"]["rayStartParams"] for name, spec in clusters().items()}
    assert params["raycluster"]["dashboard-host"] == "127.0.0.1"
    assert params["rayjob"]["dashboard-host"] == "0.0.0.0"  # the submitter and the operator, through the policy


@RAY
def test_nothing_is_published_outside(name):
    head = clusters()[name]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert head["enableIngress"] is False


@EVERY
def test_credentials_come_from_an_account_or_a_secret_and_never_from_the_file(name):
    spec = templates()[name]["spec"]
    for container in spec["containers"]:
        assert not container.get("env")
        assert all("secretRef" in source for source in container.get("envFrom", []))
    assert name == "rayjob: submitter" or spec["serviceAccountName"] == "ray-glocal"
    assert name.endswith("head") or spec["automountServiceAccountToken"] is False


def test_a_retry_restores_the_experiment_from_shared_storage():
    job = MANIFESTS["rayjob"][0]["spec"]
    words = shlex.split(job["entrypoint"])
    assert job["backoffLimit"] > 0
    assert words[1].endswith("examples/cluster.py")
    assert words[words.index("--storage-path") + 1].startswith("s3://")
    assert "--name" in words


def test_the_cluster_of_a_job_ends_with_it():
    job = MANIFESTS["rayjob"][0]["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert job["ttlSecondsAfterFinished"] <= 3600
