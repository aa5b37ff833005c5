"""What importing the client costs: neither the server's libraries nor, before they are needed, the client's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from catalog.project import PROJECT

SERVER = ("ray", "vllm", "torch", "starlette", "catalog", "router", "autoscaling", "deployments")
HEAVY = ("openai", "httpx", "httpx2", "rich", "pydantic", "yaml", "typer")


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after a fresh interpreter has run `code`."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def test_importing_raymux_loads_nothing_else() -> None:
    assert not loaded_by("import raymux") & {*SERVER, *HEAVY}


def test_every_name_is_there_and_loads_nothing_of_the_server() -> None:
    loaded = loaded_by(
        "import raymux\nassert set(raymux.__all__) <= set(dir(raymux))\n"
        "for name in raymux.__all__: getattr(raymux, name)\nraymux.InferenceClient()"
    )
    assert "openai" in loaded
    assert not loaded & set(SERVER)


@pytest.mark.parametrize(
    ("words", "typers_own"),
    # Typer reads the values of a command's options by pydantic; the first page has none.
    [(["--help"], set()), (["inference", "chat", "--help"], {"pydantic"}), (["models", "--help"], {"pydantic"})],
)
def test_help_loads_only_what_prints_it(words: list[str], typers_own: set[str]) -> None:
    loaded = loaded_by(f"from raymux.cli import main\ntry: main({words!r})\nexcept SystemExit: pass")
    assert "typer" in loaded
    assert not loaded & ({*SERVER, *HEAVY} - {"typer", *typers_own})


def test_a_chat_loads_neither_the_server_nor_openai() -> None:
    words = ["inference", "chat", "--message", "hi", "--url", "http://127.0.0.1:9"]
    loaded = loaded_by(f"from raymux.cli import main\ntry: main({words!r})\nexcept SystemExit: pass")
    assert "httpx" in loaded
    assert not loaded & {*SERVER, "openai"}
