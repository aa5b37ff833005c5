from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from catalog.jobs import Form
from catalog.project import PROJECT
from catalog.source_cache import SourceCacheSettings
from catalog.sources import SourceNotFound
from deployments.fine_tuning.token_check import MAX_PROBLEMS, count_tokens
from tests.unit.deployments.site import Site
from tests.unit.deployments.sources.adapters import zipped

MODEL = str(PROJECT / "models" / "demo-chat")
# Nothing is fetched into it but where a test says so.
CACHE = SourceCacheSettings()
USER = {"role": "user", "content": "Hello"}


def answer(num_words: int) -> dict[str, str]:
    return {"role": "assistant", "content": "word " * num_words}


def file(folder: Path, name: str, *examples: Any) -> str:
    path = folder / name
    path.write_text("\n".join(json.dumps(each) for each in examples))
    return str(path)


def test_examples_that_fit_are_counted_against_the_context(tmp_path: Path) -> None:
    chat = file(tmp_path, "a", {"messages": [USER, answer(5)]})
    assert count_tokens(MODEL, 512, [(chat, Form.CHAT)], CACHE) == (512, (), False)
    from_the_model = count_tokens(MODEL, None, [(chat, Form.CHAT)], CACHE).max_tokens
    assert (
        from_the_model == json.loads((PROJECT / "models/demo-chat/config.json").read_text())["max_position_embeddings"]
    )


@pytest.mark.parametrize(
    ("form", "example"),
    [
        (Form.CHAT, {"messages": [USER, answer(100)]}),
        (Form.COMPLETION, {"prompt": "a", "completion": "word " * 100}),
        (Form.PREFERENCE, {
            "input": {"messages": [USER]}, "preferred_output": [answer(1)], "non_preferred_output": [answer(100)],
        }),
    ],
)  # fmt: skip
def test_a_line_that_is_too_long_is_told_in_each_form(tmp_path: Path, form: Form, example: Any) -> None:
    short = {
        Form.CHAT: {"messages": [USER, answer(1)]}, Form.COMPLETION: {"prompt": "a", "completion": "b"},
        Form.PREFERENCE: {
            "input": {"messages": [USER]}, "preferred_output": [answer(1)], "non_preferred_output": [answer(2)],
        },
    }[form]  # fmt: skip
    good, bad = file(tmp_path, "a", short), file(tmp_path, "b", short, example, short)
    counted = count_tokens(MODEL, 64, [(good, form), (bad, form)], CACHE)
    ((index, problem),) = counted.problems
    assert (index, counted.is_too_long) == (1, True)
    assert problem.startswith("line 2 has ")
    assert problem.endswith("and the model takes 64")


def test_the_first_ten_lines_are_told(tmp_path: Path) -> None:
    bad = file(tmp_path, "a", *[{"prompt": "a", "completion": "word " * 100}] * 20)
    ((_, problem),) = count_tokens(MODEL, 16, [(bad, Form.COMPLETION)], CACHE).problems
    assert problem.count("line ") == MAX_PROBLEMS


def test_a_template_is_given_tool_calls_as_the_training_gives_them(tmp_path: Path) -> None:
    """Many templates go through a call's arguments one by one."""
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    (model / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content | trim }}{% for call in m.tool_calls or [] %}"
        "{% for name, value in call.function.arguments.items() %}{{ name }}={{ value }}{% endfor %}"
        "{% endfor %}{% endfor %}"
    )
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    chat = file(tmp_path, "a", {"messages": [USER, {"role": "assistant", "tool_calls": [call]}]})
    assert count_tokens(str(model), 512, [(chat, Form.CHAT)], CACHE).problems == ()


def test_a_base_that_is_elsewhere_is_fetched(tmp_path: Path) -> None:
    chat = file(tmp_path, "a", {"messages": [USER, answer(5)]})
    with Site().open() as site:
        site.answers["/base.zip"] = 200, {}, zipped({each.name: each.read_bytes() for each in Path(MODEL).iterdir()})
        cache = SourceCacheSettings(folder=str(tmp_path / "sources"))
        assert count_tokens(f"{site.url}/base.zip", 512, [(chat, Form.CHAT)], cache).problems == ()
        with pytest.raises(SourceNotFound):
            count_tokens(f"{site.url}/none.zip", 512, [(chat, Form.CHAT)], cache)
