"""The manifests for Kubernetes: pods and volumes by Kubernetes' own schemas, the rest by KubeRay's fields, and all by
the function with which Ray's autoscaler reads a RayCluster.

No package carries KubeRay's schemas, so its fields stand here, as of KubeRay 1.6, each with its type (API reference,
https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html).
"""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from innerloop import __version__
from innerloop.distributed.options import read_training

CLUSTER = Path(__file__).parents[2] / "cluster"
KUBERNETES = "1.37"

TEXT, COUNT, SWITCH, ANYTHING = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {}
TEXTS = {"type": "object", "additionalProperties": TEXT}
POD = {"type": "object", "required": ["spec"], "properties": {"metadata": ANYTHING, "spec": ANYTHING}}


def fields(required: str, **known: Any) -> dict[str, Any]:
    """An object that has these fields and no others."""
    return {"type": "object", "properties": known, "required": required.split(), "additionalProperties": False}


AUTH = fields("", mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=SWITCH)
AUTOSCALER = fields(
    "",
    resources=ANYTHING,
    image=TEXT,
    imagePullPolicy=TEXT,
    securityContext=ANYTHING,
    idleTimeoutSeconds=COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    env=ANYTHING,
    envFrom=ANYTHING,
    volumeMounts=ANYTHING,
)
GROUP = {"template": POD, "rayStartParams": TEXTS, "labels": TEXTS, "resources": TEXTS}
HEAD = fields("template", serviceType=TEXT, headService=ANYTHING, enableIngress=SWITCH, **GROUP)
WORKERS = fields(
    "groupName minReplicas maxReplicas template",
    groupName=TEXT,
    suspend=SWITCH,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    scaleStrategy=ANYTHING,
    **GROUP,
)
CLUSTER_SPEC = fields(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=AUTH,
    suspend=SWITCH,
    managedBy=TEXT,
    enableInTreeAutoscaling=SWITCH,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    gcsFaultToleranceOptions=ANYTHING,
    upgradeStrategy=ANYTHING,
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB_SPEC = fields(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    rayClusterSpec=CLUSTER_SPEC,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    shutdownAfterJobFinishes=SWITCH,
    ttlSecondsAfterFinished=COUNT,
    activeDeadlineSeconds=COUNT,
    backoffLimit=COUNT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterPodTemplate=POD,
    submitterConfig=ANYTHING,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    suspend=SWITCH,
    managedBy=TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT,
    deletionStrategy=ANYTHING,
)
NAMED = fields("name", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
RESOURCE = {"apiVersion": {"const": "ray.io/v1"}, "metadata": NAMED}
SCHEMAS = {
    kind: fields("apiVersion kind metadata spec", kind={"const": kind}, spec=spec, **RESOURCE)
    for kind, spec in (("RayCluster", CLUSTER_SPEC), ("RayJob", JOB_SPEC))
}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


def spec_of(name: str) -> dict[str, Any]:
    spec = read(name)["spec"]
    return spec if name == "raycluster.yaml" else spec["rayClusterSpec"]


def templates(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def pod(template: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}, "spec": template["spec"]}


MANIFESTS = "raycluster.yaml", "rayjob.yaml"
manifests = pytest.mark.parametrize("name", MANIFESTS)


@manifests
def test_kuberay_knows_every_field(name: str) -> None:
    manifest = read(name)
    jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    wrong = copy.deepcopy(manifest)
    wrong["spec"]["enableInTreeAutoScaling"] = True
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMAS[manifest["kind"]])


@manifests
def test_kubernetes_knows_every_field_of_the_pods(name: str) -> None:
    for template in templates(spec_of(name)):
        kubernetes_validate.validate(pod(template), KUBERNETES, strict=True)
        wrong = copy.deepcopy(pod(template))
        wrong["spec"]["containers"][0]["imagePullPolcy"] = "Always"
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, KUBERNETES, strict=True)
    # The autoscaler's container takes a container's security context.
    container = {"name": "autoscaler", "securityContext": spec_of(name)["autoscalerOptions"]["securityContext"]}
    kubernetes_validate.validate(pod({"spec": {"containers": [container]}}), KUBERNETES, strict=True)


def test_the_volume_of_runs_is_one_and_the_head_mounts_it() -> None:
    volume = read("runs.yaml")
    kubernetes_validate.validate(volume, KUBERNETES, strict=True)
    for name in MANIFESTS:
        head = spec_of(name)["headGroupSpec"]["template"]["spec"]
        [claimed] = head["volumes"]
        assert claimed["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
        assert head["containers"][0]["volumeMounts"] == [{"name": claimed["name"], "mountPath": "/home/ray/runs"}]


def test_a_runs_own_cluster_is_the_cluster_that_stays() -> None:
    assert spec_of("rayjob.yaml") == spec_of("raycluster.yaml")


@manifests
def test_rays_autoscaler_sees_a_learner_with_a_gpu_and_rollouts_that_scale(name: str) -> None:
    manifest = {"metadata": {"name": "innerloop", "namespace": "default"}, "spec": spec_of(name)}
    seen = _derive_autoscaling_config_from_ray_cr(manifest)["available_node_types"]
    learner, rollout = seen["headgroup"], seen["rollout"]
    assert (learner["labels"], rollout["labels"]) == ({"role": "learner"}, {"role": "rollout"})
    assert learner["resources"]["GPU"] == 1
    assert "GPU" not in rollout["resources"]
    assert rollout["resources"]["CPU"] == 4
    assert 0 < rollout["min_workers"] < rollout["max_workers"]
    assert spec_of(name)["enableInTreeAutoscaling"] is True
    assert "replicas" not in spec_of(name)["workerGroupSpecs"][0]  # that is for the autoscaler to say


@manifests
def test_nobody_gets_in_without_the_token_and_nothing_runs_as_root(name: str, readme: Any) -> None:
    spec = spec_of(name)
    secret = spec["authOptions"]["secretName"]
    assert spec["authOptions"]["mode"] == "token"
    commands = next(block for block in readme.blocks("Kubernetes") if "create secret" in block)
    assert f"create secret generic {secret} --from-file=auth_token=cluster/secrets/token" in commands
    for template in templates(spec):
        [container] = template["spec"]["containers"]
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        [source] = container["envFrom"]
        assert f"create secret generic {source['secretRef']['name']} --from-env-file=cluster/secrets/env" in commands
        assert template["spec"]["restartPolicy"] == "Never"
    assert "serviceType" not in spec["headGroupSpec"]  # ClusterIP: reached by port-forward


@manifests
def test_the_images_are_those_that_the_readme_builds(name: str, readme: Any) -> None:
    commands = "\n".join(readme.blocks("Kubernetes"))
    images = [template["spec"]["containers"][0]["image"] for template in templates(spec_of(name))]
    assert images == [f"innerloop:{__version__}-gpu", f"innerloop:{__version__}-cpu"]
    for image in images:
        assert f"-t REGISTRY/{image} ." in commands
        assert f"docker push REGISTRY/{image}" in commands


def test_the_jobs_command_is_one_that_innerloop_takes() -> None:
    program, command, *options = read("rayjob.yaml")["spec"]["entrypoint"].split()
    assert (program, command) == ("innerloop", "train")
    _, config = read_training(options)
    assert config.run.address == "auto"
    assert config.run.mode == "overlapped"
