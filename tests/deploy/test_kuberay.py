"""deploy/kuberay by schemas, by Ray's own reading of its worker groups, and by raymux's of its configuration."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from autoscaling.cluster import Cluster, Footing, Node, NodeType
from autoscaling.placement import place
from catalog.gpus import GPU_TYPES
from catalog.loading import load, require_keys
from catalog.project import PROJECT
from deployments.gateway.gateway import Gateway
from tests.deploy.conftest import Validators

FOLDER = PROJECT / "deploy" / "kuberay"
# Of the schemas that the validator brings; older than the newest, as clusters are.
KUBERNETES = "1.33.0"


def documents() -> dict[str, dict[str, Any]]:
    """Every object of the folder, by kind and name."""
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "Kustomization":
                found[f"{document['kind']}/{document['metadata']['name']}"] = document
    return found


OBJECTS = documents()
SERVICE = OBJECTS["RayService/raymux"]
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
HEAD = CLUSTER["headGroupSpec"]
WORKERS = CLUSTER["workerGroupSpecs"]
TEMPLATES = {"head": HEAD["template"], **{group["groupName"]: group["template"] for group in WORKERS}}


def kubernetes_objects() -> Iterator[dict[str, Any]]:
    """What Kubernetes itself knows: all but the RayService, and the pods and the service inside that."""
    yield from (document for document in OBJECTS.values() if document["kind"] != "RayService")
    yield {"apiVersion": "v1", "kind": "Service", **SERVICE["spec"]["serveService"]}
    for name, template in TEMPLATES.items():
        metadata = {"name": name, **template["metadata"]}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_kubernetes_schemas_know_every_field(validators: Validators, tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    # A reader of YAML 1.2 has no merge keys, so what is checked is what they lead to.
    path.write_text("---\n".join(json.dumps(each) + "\n" for each in kubernetes_objects()))
    validators.accept("kubernetes-validate", "--strict", "-k", KUBERNETES, path)


def test_a_wrong_field_is_noticed(validators: Validators, tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    container = {"name": "a", "image": "b:1.0", "livenessProb": {}}
    path.write_text(
        json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}})
    )
    assert validators.run("kubernetes-validate", "--strict", "-k", KUBERNETES, path).returncode


def test_the_rayservice_has_the_fields_that_kuberay_documents() -> None:
    schema = json.loads(Path(__file__).with_name("rayservice.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(SERVICE)


def test_kustomize_names_every_file_but_the_example() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(kustomization["resources"]) == files


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_builds_and_puts_the_image_in() -> None:
    done = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    images = {line.split()[-1] for line in done.stdout.splitlines() if re.match(r"\s*(- )?image:", line)}
    assert all(re.fullmatch(r"\S+:v?\d+\.\d+\S*", image) for image in images)
    assert len(images) == 2


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kuberay") / "serve_config.yaml"
    path.write_text(SERVICE["spec"]["serveConfigV2"])
    return path


def test_the_configuration_is_one_that_raymux_takes_and_that_asks_for_keys(config_path: Path) -> None:
    config = load(config_path)
    assert config.catalog.replica_host == "node"
    assert config.catalog.store_redis is not None
    with pytest.raises(ValueError, match="key"):
        require_keys(config.host, config.gateway, has_environment_keys=False)


def test_serve_takes_the_configuration() -> None:
    from ray.serve.schema import ServeDeploySchema

    ServeDeploySchema.model_validate(yaml.safe_load(SERVICE["spec"]["serveConfigV2"]))


@pytest.fixture(scope="module")
def node_types() -> dict[str, Any]:
    """What Ray's autoscaler makes of the groups."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    resource = {"metadata": {"name": "raymux", "namespace": "raymux"}, "spec": CLUSTER}
    return _derive_autoscaling_config_from_ray_cr(resource)["available_node_types"]


def test_no_gpu_runs_until_it_is_asked_for(node_types: dict[str, Any]) -> None:
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert "GPU" not in node_types["headgroup"]["resources"]
    assert len(WORKERS) > 2
    assert all((group["replicas"], group["minReplicas"]) == (0, 0) for group in WORKERS)


def test_each_group_says_its_gpus_before_the_first_node_runs(node_types: dict[str, Any]) -> None:
    for group in WORKERS:
        resources = node_types[group["groupName"]]["resources"]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        kind = group["template"]["metadata"]["labels"]["raymux.gpu"]
        assert kind in GPU_TYPES
        assert resources[f"accelerator_type:{kind}"] == 1
        assert resources["GPU"] == limits["nvidia.com/gpu"]


def test_every_variant_finds_a_group(config_path: Path, node_types: dict[str, Any]) -> None:
    kinds = tuple(
        NodeType(name, kind["resources"], kind["max_workers"])
        for name, kind in node_types.items()
        if "GPU" in kind["resources"]
    )
    cluster = Cluster((Node(node_types["headgroup"]["resources"], node_types["headgroup"]["resources"]),), kinds, 9)
    for model in load(config_path).catalog.models:
        for variant in model.variants:
            placement = place(variant)
            footing = cluster.footing(placement.bundles, placement.strategy)
            assert footing is Footing.ADDABLE, f"{model.name}@{variant.shape}"


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_runs_as_root_or_with_privileges(name: str) -> None:
    spec = TEMPLATES[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for context in [
        *(container["securityContext"] for container in spec["containers"]),
        CLUSTER["autoscalerOptions"]["securityContext"],
    ]:
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_keys_come_from_a_secret_and_reach_the_head_only() -> None:
    example = set(OBJECTS["Secret/raymux-keys"]["stringData"])
    keys = {"RAYMUX_API_KEYS", "RAYMUX_ADMIN_KEYS", "RAYMUX_REDIS_URL"}
    for name, template in TEMPLATES.items():
        variables = {each["name"]: each for each in template["spec"]["containers"][0].get("env", [])}
        assert not any("value" in each for each in variables.values())
        assert keys & set(variables) == (keys if name == "head" else set())
        for each in variables.values():
            reference = each["valueFrom"]["secretKeyRef"]
            assert reference["name"] == "raymux-keys"
            assert reference.get("optional") or reference["key"] in example
    assert all(value == "" for value in OBJECTS["Secret/raymux-keys"]["stringData"].values())


def test_gateways_stay_where_the_keys_are() -> None:
    deployments = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])["applications"][0]["deployments"]
    gateway = next(each for each in deployments if each["name"] == "Gateway")
    assert "ray_actor_options" not in gateway
    assert "node:__internal_head__" in Gateway.ray_actor_options["resources"]


def test_ports_agree(config_path: Path) -> None:
    port = load(config_path).port
    service = SERVICE["spec"]["serveService"]["spec"]["ports"][0]
    assert (service["port"], service["targetPort"]) == (port, port)
    assert {"name": "serve", "containerPort": port} in HEAD["template"]["spec"]["containers"][0]["ports"]
    clients = OBJECTS["NetworkPolicy/clients-to-the-gateway"]["spec"]["ingress"]
    assert [rule["ports"] for rule in clients] == [[{"protocol": "TCP", "port": port}]]
    redis = OBJECTS["Service/raymux-redis"]["spec"]["ports"][0]["port"]
    allowed = OBJECTS["NetworkPolicy/redis-for-the-head"]["spec"]["ingress"][0]["ports"]
    assert allowed == [{"protocol": "TCP", "port": redis}]


def test_probes_ask_what_ray_and_serve_answer() -> None:
    from ray.dashboard.modules.reporter import healthz_agent, reporter_head
    from ray.serve._private.haproxy import HAProxyConfig

    answered = {
        "52365": set(re.findall(r'routes\.get\("(/\S+?)"', Path(healthz_agent.__file__).read_text())),
        "8265": set(re.findall(r'routes\.get\("(/\S+?)"', Path(reporter_head.__file__).read_text())),
        "8000": {HAProxyConfig.health_check_endpoint},
    }
    for template in TEMPLATES.values():
        container = template["spec"]["containers"][0]
        text = json.dumps([container["readinessProbe"], container["livenessProbe"]])
        asked = re.findall(r"http://localhost:(\d+)(/[\w/-]+)", text)
        assert len(asked) >= 2
        assert all(path in answered[port] for port, path in asked)


def test_policies_and_budgets_choose_pods_that_exist() -> None:
    labels = [template["metadata"]["labels"] for template in TEMPLATES.values()]
    labels.append(OBJECTS["StatefulSet/raymux-redis"]["spec"]["template"]["metadata"]["labels"])
    for name, document in OBJECTS.items():
        if document["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            spec = document["spec"]
            wanted = (spec.get("podSelector") or spec["selector"])["matchLabels"]
            assert any(wanted.items() <= each.items() for each in labels), name


def test_every_pod_of_raymux_refuses_strangers() -> None:
    chosen = OBJECTS["NetworkPolicy/ray-pods-among-themselves"]["spec"]["podSelector"]["matchLabels"]
    assert all(chosen.items() <= template["metadata"]["labels"].items() for template in TEMPLATES.values())
