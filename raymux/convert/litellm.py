"""LiteLLM: each entry of `model_list` becomes a model of an outside provider; see LiteLLM's page on `config.yaml`."""

from __future__ import annotations

import re
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from raymux.convert.draft import Draft, Entry, Fields, base_name


class _Known(NamedTuple):
    """A provider with a known API: its name in raymux, where it is, and the variable with its key."""

    name: str
    base_url: str
    variable: str


# By LiteLLM's prefix of their models.
_KNOWN = {
    "openai": _Known("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": _Known("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "together_ai": _Known("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "groq": _Known("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": _Known("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": _Known("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": _Known("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "xai": _Known("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
}
# Of these raymux itself knows everything (`catalog/providers.py`).
_BUILT_IN = ("openai", "anthropic", "together")
# Servers of OpenAI's form that say by `api_base` where they are.
_SERVERS = (
    "hosted_vllm", "openai_like", "custom_openai", "lm_studio", "llamafile", "ollama", "ollama_chat",
    "text-completion-openai",
)  # fmt: skip
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
        self._places: dict[str, _Known] = {}
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
        prefix, upstream = _taken_apart(route)
        provider = self._provider(name, prefix, base, key) if task and "*" not in name + route else None
        if provider is None or task is None:
            self._draft.note("", f"{name} ({route}) is left out: {_reason(name + route, prefix, mode, task)}.")
            return
        own = base_name(upstream.replace("/", "-"))
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

    def _provider(self, name: str, prefix: str, base: Any, key: Any) -> Entry | None:
        """The provider that a model belongs to, among those so far or a new one; None for one that is not known."""
        if base is not None and (prefix == "openai" or prefix in _SERVERS):
            # Ollama's own API is at its root, the one of OpenAI's form below /v1.
            url = str(base).rstrip("/")
            return self._server(name, url if "ollama" not in prefix or url.endswith("/v1") else f"{url}/v1", key)
        known = _KNOWN.get(prefix)
        if known is None:
            return None
        return self._entry(known._replace(base_url=str(base or known.base_url)), key, name)

    def _server(self, name: str, url: str, key: Any) -> Entry:
        """A provider named after the host that it runs on."""
        parts = urlsplit(url)
        host = parts.hostname or "server"
        own = base_name(f"{host}-{parts.port}" if parts.port else host)
        entry = self._entry(_Known(own, url, _variable(f"{own}_API_KEY")), key, name)
        if parts.scheme == "http" and host not in _LOOPBACK:
            entry["allow_plain_http"] = True
            self._draft.note(name, f"its key goes to {host} in the clear.")
        return entry

    def _entry(self, wanted: _Known, key: Any, about: str) -> Entry:
        """The entry of a provider; another address or key of the same name is another provider."""
        wanted = wanted._replace(variable=self._key_variable(wanted, str(key or ""), about))
        names = (f"{wanted.name}-{number}" if number else wanted.name for number in count())
        name = next(each for each in names if self._places.get(each, wanted) == wanted)
        if name not in self.providers:
            self._places[name] = wanted
            entry: Entry = {"name": name, "base_url": wanted.base_url, "api_key_env": wanted.variable, "models": []}
            if name in _BUILT_IN:
                known = next(each for each in _KNOWN.values() if each.name == name)
                given = {"base_url": known.base_url, "api_key_env": known.variable}
                entry = {field: value for field, value in entry.items() if given.get(field) != value}
            elif wanted.name == "anthropic":
                entry["kind"] = "anthropic"
            self.providers[name] = entry
        return self.providers[name]

    def _key_variable(self, known: _Known, key: str, about: str) -> str:
        """The environment variable with the key. A key that stands in the file itself is not copied."""
        if key.startswith("os.environ/"):
            given = key.removeprefix("os.environ/")
            if _variable(given) != given:
                self._draft.note(about, f"its key was in {given}; raymux reads it from {_variable(given)}.")
            return _variable(given)
        if key:
            self._draft.note(about, f"its API key is not copied: put it into {known.variable} of the environment.")
        elif known.name not in {each.name for each in _KNOWN.values()}:
            self._draft.note(
                about, f"raymux sends a key to every provider: set {known.variable}, to anything if it takes none."
            )
        return known.variable


def _taken_apart(route: str) -> tuple[str, str]:
    """LiteLLM's prefix of a model, which it guesses for well-known names, and what the provider calls the model."""
    prefix, slash, rest = route.partition("/")
    if slash:
        return prefix, rest
    if route.startswith("claude"):
        return "anthropic", route
    return ("openai" if re.match(r"gpt|chatgpt|o\d|text-", route) else ""), route


def _variable(text: str) -> str:
    """The name of an environment variable as raymux allows it."""
    return re.sub(r"[^A-Z0-9_]+", "_", text.upper()).lstrip("_0123456789")[:64] or "API_KEY"


def _reason(names: str, prefix: str, mode: str, task: str | None) -> str:
    """Why an entry is left out."""
    if "*" in names:
        return "raymux serves only models that are listed by name"
    if task is None:
        return f"a provider's model generates or embeds, and this one's mode is {mode}"
    return f"{prefix or 'its provider'} has no API of OpenAI's or Anthropic's form that is known here"
