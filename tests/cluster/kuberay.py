"""What KubeRay's custom resources may hold: the fields of its `ray.io/v1` definitions, without the pods' own."""

OBJECT = {"type": "object"}
POD_TEMPLATE = {"type": "object", "required": ["spec"]}  # judged by Kubernetes' own schema
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
WHOLE = {"type": "integer", "minimum": 0}
TEXT = {"type": "string", "minLength": 1}
FLAG = {"type": "boolean"}


def closed(required=(), **properties):
    """An object with these fields and no others."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


AUTHENTICATION = closed(mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=FLAG)
AUTOSCALER = closed(
    env={"type": "array"},
    envFrom={"type": "array"},
    idleTimeoutSeconds=WHOLE,
    image=TEXT,
    imagePullPolicy=TEXT,
    resources=OBJECT,
    securityContext=OBJECT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    volumeMounts={"type": "array"},
)
HEAD = closed(
    ("template",),
    enableIngress=FLAG,
    headService=OBJECT,
    labels=TEXTS,
    rayStartParams=TEXTS,
    resources=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    template=POD_TEMPLATE,
)
WORKERS = closed(
    ("groupName", "template", "minReplicas", "maxReplicas"),
    groupName=TEXT,
    idleTimeoutSeconds=WHOLE,
    labels=TEXTS,
    maxReplicas=WHOLE,
    minReplicas=WHOLE,
    numOfHosts=WHOLE,
    rayStartParams=TEXTS,
    replicas=WHOLE,
    resources=TEXTS,
    scaleStrategy=OBJECT,
    suspend=FLAG,
    template=POD_TEMPLATE,
)
CLUSTER = closed(
    ("headGroupSpec",),
    authOptions=AUTHENTICATION,
    autoscalerOptions=AUTOSCALER,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=OBJECT,
    headGroupSpec=HEAD,
    headServiceAnnotations=TEXTS,
    managedBy={"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]},
    rayVersion=TEXT,
    suspend=FLAG,
    upgradeStrategy=OBJECT,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB = closed(
    activeDeadlineSeconds=WHOLE,
    backoffLimit=WHOLE,
    clusterSelector=TEXTS,
    deletionStrategy=OBJECT,
    entrypoint=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    jobId=TEXT,
    managedBy={"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]},
    metadata=TEXTS,
    rayClusterSpec=CLUSTER,
    runtimeEnvYAML=TEXT,
    shutdownAfterJobFinishes=FLAG,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterConfig=closed(backoffLimit=WHOLE),
    submitterPodTemplate=POD_TEMPLATE,
    suspend=FLAG,
    ttlSecondsAfterFinished=WHOLE,
)


def resource(kind, spec):
    """The schema of a whole resource of this kind."""
    metadata = {"type": "object", "required": ["name", "namespace"]}
    whole = closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


SCHEMAS = {"RayCluster": resource("RayCluster", CLUSTER), "RayJob": resource("RayJob", JOB)}
