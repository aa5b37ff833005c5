"""Read a Serve configuration file and check what raymux finds in it; an error names its place in the YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from catalog.catalog import Catalog
from catalog.models import Settings, Task
from catalog.settings import LOOPBACK_HOSTS, CatalogSettings, DefaultModels, GatewaySettings

APPLICATION = "raymux"
GATEWAY = "Gateway"
MODEL_MANAGER = "ModelManager"
# The only field of a manager's `user_config` whose catalog is one JSON text (`catalog.packing`).
PACKED = "packed"

_SettingsT = TypeVar("_SettingsT", bound=Settings)


class ConfigError(ValueError):
    """The configuration is wrong; the message is one line with the YAML path and what is allowed."""


@dataclass(frozen=True)
class ServeConfig:
    """A Serve configuration's document, and its parts that raymux reads.

    `catalog_at` is the YAML path of the catalog.
    """

    document: dict[str, Any]

    catalog: CatalogSettings
    gateway: GatewaySettings
    host: str
    port: int
    catalog_at: str


def load(path: Path) -> ServeConfig:
    """Read and check the file. Raises ConfigError with the first problem."""
    document = _read_yaml(path)
    application, at = named(document.get("applications"), "applications", APPLICATION)
    deployments = application.get("deployments")
    manager, manager_at = named(deployments, f"{at}.deployments", MODEL_MANAGER)
    gateway, gateway_at = named(deployments, f"{at}.deployments", GATEWAY)
    catalog = parse(CatalogSettings, unpacked(manager.get("user_config") or {}), f"{manager_at}.user_config")
    settings = parse(GatewaySettings, gateway.get("user_config") or {}, f"{gateway_at}.user_config")
    check_defaults(settings.defaults, Catalog(catalog), f"{gateway_at}.user_config.defaults")
    http = document.get("http_options") or {}
    if not isinstance(http, dict):
        raise ConfigError("http_options: expected a mapping with host and port")
    host, port = http.get("host", "127.0.0.1"), http.get("port", 8000)
    if not isinstance(host, str) or not host:
        raise ConfigError("http_options.host: expected an address such as 127.0.0.1 or 0.0.0.0")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigError("http_options.port: expected a number from 1 to 65535")
    return ServeConfig(document, catalog, settings, host, port, f"{manager_at}.user_config")


def parse(model: type[_SettingsT], value: Any, at: str) -> _SettingsT:
    """Validate `value`; raises ConfigError that names the place below `at` and what is allowed there."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join([at, *map(str, first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if first["type"] == "extra_forbidden":
            message = f"unknown field; allowed here: {', '.join(_fields_at(model, first['loc']))}"
        raise ConfigError(f"{where}: {message}{more}") from None


def unpacked(user_config: dict[str, Any]) -> Any:
    """What a packed `user_config` holds; any other as it is."""
    text = user_config.get(PACKED)
    if not isinstance(text, str) or len(user_config) > 1:
        return user_config
    try:
        return json.loads(text)
    except ValueError:
        return user_config


def check_defaults(defaults: DefaultModels, catalog: Catalog, at: str) -> None:
    """Raise ConfigError when a default names no model, or one that cannot do the endpoint's task."""
    tasks = {"chat": Task.GENERATE, "embeddings": Task.EMBED, "rerank": Task.SCORE}
    for field, task in tasks.items():
        name = getattr(defaults, field)
        if name is None:
            continue
        target = catalog.find(name)
        if target is None:
            raise ConfigError(f"{at}.{field}: no model is named {name}")
        if target.adapter is not None:
            raise ConfigError(f"{at}.{field}: {name} is an adapter; a default is a model of its own")
        if task not in target.tasks:
            raise ConfigError(f"{at}.{field}: {name} does not list the task {task}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{at}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        # A ValueError comes from a date such as 2024-13-01 or a number of thousands of digits.
        raise ConfigError(f"{path}: not valid YAML") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a Serve configuration with `applications:`")
    return document


def named(entries: Any, at: str, name: str) -> tuple[dict[str, Any], str]:
    """The entry of a list with this name, and its path."""
    if not isinstance(entries, list):
        raise ConfigError(f"{at}: expected a list with an entry named {name}")
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry, f"{at}.{index}"
    raise ConfigError(f"{at}: no entry is named {name}")


def require_keys(host: str, settings: GatewaySettings, *, has_environment_keys: bool) -> None:
    """Raise ConfigError when anybody who reaches `host` could use the service."""
    if host in LOOPBACK_HOSTS or settings.keys or has_environment_keys or settings.allow_unauthenticated:
        return
    raise ConfigError(
        f"http_options.host: without API keys raymux listens on {', '.join(LOOPBACK_HOSTS)} only. Set RAYMUX_API_KEYS"
        " or the gateway's `keys`, or `allow_unauthenticated: true` where something else keeps strangers out"
    )


def _fields_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields allowed beside the unknown one at `location`."""
    for step in location[:-1]:
        if isinstance(step, str) and isinstance(model, type) and issubclass(model, Settings):
            model = model.model_fields[step].annotation
        model = _settings_in(model)
    return list(model.model_fields) if model else []


def _settings_in(annotation: Any) -> type[Settings] | None:
    """The settings class inside an annotation such as `tuple[X, ...]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    found = (_settings_in(inner) for inner in getattr(annotation, "__args__", ()))
    return next((settings for settings in found if settings), None)
