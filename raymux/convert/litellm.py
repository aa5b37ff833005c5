"""LiteLLM: each entry of `model_list` becomes a model of an outside provider; see LiteLLM's page on `config.yaml`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from raymux.convert.draft import Draft, Entry, Fields, base_name

# Providers with an API of OpenAI's form, by LiteLLM's prefix: raymux's name, and the base URL where it needs one.
_PROVIDERS: dict[str, tuple[str, str]] = {
    "openai": ("openai", ""),
    "anthropic": ("anthropic", ""),
    "together_ai": ("together", ""),
    "groq": ("groq", "https://api.groq.com/openai/v1"),
    "mistral": ("mistral", "https://api.mistral.ai/v1"),
    "deepseek": ("deepseek", "https://api.deepseek.com/v1"),
    "openrouter": ("openrouter", "https://openrouter.ai/api/v1"),
    "xai": ("xai", "https://api.x.ai/v1"),
}
# Servers of OpenAI's form that say by `api_base` where they are.
_SERVERS = ("hosted_vllm", "openai_like", "custom_openai", "lm_studio", "llamafile", "ollama", "ollama_chat")
_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "together": "TOGETHER_API_KEY"}
_TASKS = {"chat": "generate", "completion": "generate", "responses": "generate", "embedding": "embed"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def matches(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("model_list"), list)


def convert(document: Any, gpu: str) -> Draft:
    """Every entry as a provider's model, with the fallbacks between them."""
    draft = Draft()
    fields = Fields(document, draft, "")
    conversion = _Conversion(draft)
    for entry in fields.take("model_list", []):
        if isinstance(entry, dict):
            conversion.add(entry)
    litellm, router = fields.inner("litellm_settings"), fields.inner("router_settings")
    for alias, group in dict(router.take("model_group_alias", {})).items():
        conversion.alias(alias, str(group))
    for section in (litellm, router):
        for pair in section.take("fallbacks", []):
            for name, others in dict(pair).items():
                conversion.fall_back(name, list(others))
    retries = litellm.take("num_retries", router.take("num_retries"))
    timeout_s = litellm.take("request_timeout", router.take("timeout"))
    if litellm.take("cache"):
        draft.gateway["cache"] = {}
        draft.note("", "raymux caches answers of deterministic requests only (temperature 0, or a seed).")
    litellm.inner("cache_params").close()
    general = fields.inner("general_settings")
    if general.take("master_key") is not None:
        draft.note("", "master_key: set RAYMUX_ADMIN_KEYS, or have keys made by `raymux keys create`.")
    for provider in conversion.providers.values():
        provider |= {} if retries is None else {"max_retries": min(10, max(0, int(retries)))}
        provider |= {} if timeout_s is None else {"first_byte_timeout_s": min(7200.0, max(0.1, float(timeout_s)))}
        draft.providers.append(provider)
    for section in (litellm, router, general, fields):
        section.close()
    return draft


class _Conversion:
    """Providers so far, and the groups: what clients call a model, and the models that answer for it in order."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.providers: dict[str, Entry] = {}
        self._groups: dict[str, list[tuple[str, Entry]]] = {}
        self._aliases: set[str] = set()

    def add(self, entry: Entry) -> None:
        """Carry over one entry of the list, or note why it is left out."""
        name = str(entry.get("model_name") or "")
        fields = Fields(entry, self._draft, name)
        fields.take("model_name")
        params, info = fields.inner("litellm_params"), fields.inner("model_info")
        route = str(params.take("model", ""))
        mode, base, key = info.take("mode", "chat"), params.take("api_base"), params.take("api_key")
        task = _TASKS.get(mode)
        provider = self._provider(name, route, base, key) if task and "*" not in name + route else None
        if provider is None or task is None:
            self._draft.note("", f"{name} ({route}) is left out: {self._reason(name + route, route, mode, task)}.")
            return
        own, upstream = self._model_name(provider, route)
        model = next((each for each in provider["models"] if each["name"] == own), None)
        if model is None:
            model = {"name": own, **({} if own == upstream else {"upstream": upstream}), "tasks": [task]}
            provider["models"].append(model)
        if task == "generate" and (most := params.take("max_tokens")) is not None:
            model["max_output_tokens"] = int(most)
        for section in (params, info, fields):
            section.close()
        self._join(name, f"{provider['name']}/{own}", model)

    def alias(self, alias: str, group: str) -> None:
        """Another name of a group."""
        if group in self._groups:
            self._name(alias, *self._groups[group][0])
            self._groups.setdefault(alias, self._groups[group])
        else:
            self._draft.note("", f"model_group_alias {alias}: no model is named {group}.")

    def fall_back(self, name: str, others: list[str]) -> None:
        """Have other groups answer in a group's place."""
        known = [self._groups[other][0] for other in others if other in self._groups]
        if name not in self._groups or len(known) < len(others):
            self._draft.note("", f"fallbacks of {name}: not all of {', '.join(others)} were carried over.")
        if name in self._groups:
            _, model = self._groups[name][0]
            self._fallbacks(model, [(full, each) for full, each in known])

    def _join(self, group: str, full_name: str, model: Entry) -> None:
        members = self._groups.setdefault(group, [])
        if members and all(full_name != full for full, _ in members):
            self._fallbacks(members[0][1], [(full_name, model)])
            self._draft.note(group, f"{full_name} shared its load; in raymux it answers when {members[0][0]} fails.")
        elif not members:
            self._name(group, full_name, model)
        members.append((full_name, model))

    def _fallbacks(self, model: Entry, others: list[tuple[str, Entry]]) -> None:
        for full_name, other in others:
            if other["tasks"] != model["tasks"]:
                self._draft.note("", f"{full_name} cannot stand in for {model['name']}: it does something else.")
            elif full_name not in model.get("fallbacks", ()) and other is not model:
                model.setdefault("fallbacks", []).append(full_name)

    def _name(self, name: str, full_name: str, model: Entry) -> None:
        alias = base_name(name)
        if alias != name:
            self._draft.note(name, f"raymux does not allow its name; requests must use {alias}.")
        if alias != full_name and alias not in self._aliases:
            self._aliases.add(alias)
            model.setdefault("aliases", []).append(alias)

    def _provider(self, name: str, route: str, base: Any, key: Any) -> Entry | None:
        prefix, slash, _ = route.partition("/")
        if not slash:
            prefix = (
                "anthropic" if route.startswith("claude") else "openai" if re.match(r"gpt|o\d|text-", route) else ""
            )
        if base is not None and prefix in ("openai", "text-completion-openai", *_SERVERS):
            # Ollama's own API is at its root, the one of OpenAI's form below /v1.
            below = "" if "ollama" not in prefix or str(base).rstrip("/").endswith("/v1") else "/v1"
            return self._server(name, str(base).rstrip("/") + below, key)
        if prefix not in _PROVIDERS:
            return None
        own, url = _PROVIDERS[prefix]
        url = str(base) if base is not None else url
        return self._named(own, {"base_url": url} if url else {}, key, name)

    def _server(self, name: str, base: str, key: Any) -> Entry:
        host = urlsplit(base).hostname or "server"
        port = urlsplit(base).port
        more: Entry = {"base_url": base.rstrip("/")}
        if base.startswith("http:") and host not in _LOOPBACK:
            more["allow_plain_http"] = True
            self._draft.note(name, f"its key goes to {host} in the clear.")
        return self._named(base_name(f"{host}-{port}" if port else host), more, key, name)

    def _named(self, own: str, more: Entry, key: Any, about: str) -> Entry:
        """The provider of this name; another URL or key is another provider."""
        variable = self._variable(own, key, about)
        wanted = {**more, **({} if variable == _KEYS.get(own) else {"api_key_env": variable})}
        number, name = 1, own
        while name in self.providers and {k: self.providers[name].get(k) for k in ("base_url", "api_key_env")} != {
            k: wanted.get(k) for k in ("base_url", "api_key_env")
        }:
            number += 1
            name = f"{own}-{number}"
        if name not in self.providers and number > 1 and own in _KEYS:
            wanted = {"kind": "anthropic" if own == "anthropic" else "openai", "api_key_env": variable, **wanted}
            wanted.setdefault(
                "base_url",
                {
                    "openai": "https://api.openai.com/v1",
                    "anthropic": "https://api.anthropic.com/v1",
                    "together": "https://api.together.xyz/v1",
                }[own],
            )
        return self.providers.setdefault(name, {"name": name, **wanted, "models": []})

    def _variable(self, own: str, key: Any, about: str) -> str:
        """The environment variable with the key. A key that stands in the file itself is not copied."""
        text = str(key or "")
        if text.startswith("os.environ/"):
            found = re.sub(r"[^A-Z0-9_]", "_", text.removeprefix("os.environ/").upper())
            return found.lstrip("_0123456789")[:64] or "API_KEY"
        default = _KEYS.get(own) or re.sub(r"[^A-Z0-9]+", "_", f"{own}_API_KEY".upper()).lstrip("_0123456789")[:64]
        if text:
            self._draft.note(about, f"its API key is not copied: put it into the environment variable {default}.")
        elif own not in _KEYS:
            self._draft.note(
                about, f"raymux sends a key to every provider: set {default}, to anything if it takes none."
            )
        return default

    def _model_name(self, provider: Entry, route: str) -> tuple[str, str]:
        prefix, slash, rest = route.partition("/")
        upstream = (
            rest
            if slash and (prefix in _PROVIDERS or prefix in _SERVERS or prefix == "text-completion-openai")
            else route
        )
        return base_name(upstream.replace("/", "-")), upstream

    def _reason(self, names: str, route: str, mode: str, task: str | None) -> str:
        if "*" in names:
            return "raymux serves only models that are listed by name"
        if task is None:
            return f"a provider's model generates or embeds, and this one's mode is {mode}"
        return f"{route.partition('/')[0]} has no API of OpenAI's or Anthropic's form that is known here"
