"""Images and the compose file, as far as they can be checked without running a container."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.loading import load, require_keys
from catalog.project import PROJECT
from deployments.metric_families import PUSH_INTERVAL_S
from tests.deploy.conftest import Validators
from tests.deploy.routes import is_route

DOCKER = PROJECT / "deploy" / "docker"
COMPOSE = [DOCKER / "compose.yaml", DOCKER / "compose.gpu.yaml"]
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE[0].read_text())


def pins(lock: Path) -> dict[str, str]:
    """Version by package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    parts = re.split(r"^FROM \S+ AS (\S+)\n", text, flags=re.MULTILINE)
    return {name: body.strip().splitlines() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_the_linter_has_nothing_to_say_of_the_dockerfile(validators: Validators) -> None:
    validators.accept("hadolint", DOCKER / "Dockerfile")


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_runs_as_nobody_special(target: str) -> None:
    assert stages()[target][-1] == "USER 1000"


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_packages_are_those_of_a_lock_and_pip_adds_none(target: str) -> None:
    installs = [line for line in stages()[f"packages-{target}"] if "pip install" in line]
    assert len(installs) == 1
    assert {"--no-deps", "--require-hashes", "--only-binary"} < set(installs[0].split())


def test_the_images_lock_pins_what_the_tests_ran_with() -> None:
    tested, shipped = pins(PROJECT / "requirements" / "cpu.txt"), pins(DOCKER / "cpu.txt")
    assert len(shipped) > 100
    assert {name: version for name, version in shipped.items() if tested.get(name) != version} == {}
    assert not set(shipped) & {"pytest", "schemathesis", "playwright", "pyright", "ruff", "mkdocs"}


def test_the_context_holds_what_runs_and_nothing_else() -> None:
    """An allow-list: what is not named is not sent, whatever lies in the checkout."""
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert all((PROJECT / name).exists() for name in allowed)
    rooms = {"autoscaling", "catalog", "deployments", "models", "raymux", "router"}
    assert rooms < allowed
    assert not {".git", ".venv", ".env", "run", "tests", "deploy"} & allowed
    assert "deploy/docker/secrets" in lines


def test_the_health_check_asks_a_route_that_exists() -> None:
    check = next(line for line in stages()["runtime"] if "/ready" in line)
    url = re.search(r"http://127\.0\.0\.1:8000(/\w+)", check)
    assert url
    assert is_route("GET", url[1])


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_follow_the_schema(validators: Validators, path: Path) -> None:
    validators.accept("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


def test_everything_that_compose_mounts_exists(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            known = (DOCKER / source).exists() if source.startswith(".") else source in compose["volumes"]
            assert known, f"{name}: {volume}"
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert set(service["networks"]) <= set(compose["networks"])


def test_every_secret_of_compose_is_made_by_the_script(compose: dict[str, Any]) -> None:
    made = set(re.findall(r"^keep (\S+)", (DOCKER / "make_secrets.sh").read_text(), re.MULTILINE))
    assert {secret["file"] for secret in compose["secrets"].values()} == {f"secrets/{name}" for name in made}
    assert "/deploy/docker/secrets/" in (PROJECT / ".gitignore").read_text().splitlines()


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert base
    for image in [base[1], *(service["image"] for service in compose["services"].values())]:
        assert PINNED.fullmatch(image), image


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert compose["networks"]["inside"] == {"internal": True}
    assert compose["services"]["redis"]["networks"] == ["inside"]


def test_the_front_door_may_open_the_files_that_it_needs(compose: dict[str, Any]) -> None:
    """HAProxy ends as it starts where the limit is lower, for the image's user may not raise it."""
    assert compose["services"]["raymux"]["ulimits"]["nofile"] >= 10_267


def test_every_service_is_watched(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "healthcheck" in service or name == "raymux", name
        assert service["restart"] == "unless-stopped"
        assert "no-new-privileges:true" in service["security_opt"]


def test_no_secret_is_a_plain_variable(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name in service.get("environment", {}):
            assert not re.search(r"KEY|PASSWORD|URL|SECRET", name) or name.endswith("_FILE"), name


def test_the_containers_configuration_serves_the_same_models_and_needs_keys() -> None:
    ours, embedded = load(DOCKER / "serve_config.yaml"), load(PROJECT / "serve_config.yaml")
    assert ours.host == "0.0.0.0"
    assert ours.port == 8000
    assert ours.catalog.store_redis is not None
    assert ours.gateway.redis is not None
    assert ours.catalog.model_copy(update={"store_redis": None}) == embedded.catalog
    assert ours.gateway.defaults == embedded.gateway.defaults
    with pytest.raises(ValueError, match="key"):
        require_keys(ours.host, ours.gateway, has_environment_keys=False)


def test_prometheus_scrapes_compose_service_by_name_with_the_secret_that_it_has(compose: dict[str, Any]) -> None:
    config = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for job in (jobs["raymux"], jobs["raymux-engines"]):
        assert job["static_configs"] == [{"targets": ["raymux:8000"]}]
        assert is_route("GET", job.get("metrics_path", "/metrics"))
        secret = Path(job["authorization"]["credentials_file"]).name
        assert secret in compose["services"]["prometheus"]["secrets"]
    assert yaml.safe_load(f"[{config['global']['scrape_interval'].removesuffix('s')}]")[0] > PUSH_INTERVAL_S


def test_grafana_finds_prometheus_and_the_dashboard(compose: dict[str, Any]) -> None:
    provisioning = PROJECT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    folder = yaml.safe_load((provisioning / "dashboards" / "raymux.yaml").read_text())["providers"][0]["options"][
        "path"
    ]
    assert f"../grafana/raymux.json:{folder}/raymux.json:ro" in compose["services"]["grafana"]["volumes"]


def entrypoint(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DOCKER / "entrypoint.sh", *command],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=10,
    )


def test_the_entry_point_reads_secrets_from_files_and_leaves_other_variables_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a:one two,b\n")
    (tmp_path / "provider").write_text("sk-1")
    done = entrypoint(
        "env",
        RAYMUX_API_KEYS_FILE=str(tmp_path / "keys"),
        OPENAI_API_KEY_FILE=str(tmp_path / "provider"),
        SSL_CERT_FILE="/etc/ssl/cert.pem",
        RAYMUX_REDIS_URL="redis://r/0",
    )
    assert set(done.stdout.splitlines()) >= {
        "RAYMUX_API_KEYS=a:one two,b",
        "OPENAI_API_KEY=sk-1",
        "SSL_CERT_FILE=/etc/ssl/cert.pem",
        "RAYMUX_REDIS_URL=redis://r/0",
    }
    assert "API_KEYS_FILE" not in done.stdout


def test_the_entry_point_ends_when_a_secret_is_missing(tmp_path: Path) -> None:
    done = entrypoint("echo", "started", RAYMUX_API_KEYS_FILE=str(tmp_path / "none"))
    assert done.returncode != 0
    assert "started" not in done.stdout


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    script = tmp_path / "make_secrets.sh"
    script.write_bytes((DOCKER / "make_secrets.sh").read_bytes())
    subprocess.run(["bash", script], check=True, capture_output=True, timeout=10)
    secrets = tmp_path / "secrets"
    first = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run(["bash", script], check=True, capture_output=True, timeout=10)
    assert first == {path.name: path.read_text() for path in secrets.iterdir()}
    assert secrets.stat().st_mode & 0o077 == 0
    # As long as raymux wants keys to be.
    assert all(len(first[name]) >= 16 for name in ("raymux_api_key", "raymux_admin_key"))
    assert first["redis_url"] == f"redis://:{first['redis_password']}@redis:6379/0"
