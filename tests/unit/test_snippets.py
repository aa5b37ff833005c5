"""Every snippet that speaks to a server is run by a test, or says why not."""

from __future__ import annotations

import subprocess

import pytest

from tests.snippets import ADDRESS, Snippet, snippets


def test_there_are_snippets_to_run() -> None:
    assert sum(snippet.can_run for snippet in snippets()) > 20


@pytest.mark.parametrize("snippet", [each for each in snippets() if each.asks], ids=str)
def test_a_snippet_is_run_or_says_why_not(snippet: Snippet) -> None:
    assert snippet.can_run or snippet.reason or "make serve" in snippet.code


@pytest.mark.parametrize("snippet", [each for each in snippets() if each.language == "bash"], ids=str)
def test_a_snippet_is_a_shell_script(snippet: Snippet) -> None:
    done = subprocess.run(["bash", "-n"], input=snippet.code, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", [each for each in snippets() if each.language == "python"], ids=str)
def test_a_snippet_is_python(snippet: Snippet) -> None:
    compile(snippet.code, str(snippet), "exec")


@pytest.mark.parametrize(
    ("code", "can_run"),
    [
        (f"curl {ADDRESS}/v1/models", True),
        (f'curl {ADDRESS}/v1/x \\\n  -d \'{{"a": 1,\n   "b": 2}}\'\ncurl {ADDRESS}/', True),
        (f"make serve\ncurl {ADDRESS}/", False),
        ("curl http://elsewhere/", False),
        ("raymux status   # how it fares", True),
        ('echo "a | b" | raymux inference', True),
        ("cat > x <<'EOF'\nrm y\nEOF\nraymux import x", True),
        ("rm y\nraymux status", False),
    ],
)
def test_only_what_calls_curl_or_raymux_and_nothing_else_is_run(code: str, can_run: bool) -> None:
    assert Snippet("page", 1, "bash", code, "").can_run == can_run


def test_a_block_of_python_goes_on_from_those_before_it() -> None:
    (last,) = [each for each in snippets() if each.language == "python" and "promote(" in each.code]
    assert last.code.index("InferenceClient(") < last.code.index("promote(")
