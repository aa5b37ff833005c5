from __future__ import annotations

import pytest

from catalog.places import line_of, line_of_problem

TEXT = """\
applications:
  - name: raymux
    deployments:
      - name: Gateway
        user_config: {defaults: {chat: x}}
      - name: ModelManager
        user_config:
          models:
            - name: a
              variants:
                - shape: L4
                - shape: XX
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("applications", 1),
        ("applications.0", 2),
        ("applications.0.deployments.1.user_config", 7),
        ("applications.0.deployments.0.user_config.defaults.chat", 5),
        ("applications.0.deployments.1.user_config.models.0.variants.1.shape", 12),
        ("applications.0.deployments.1.user_config.models.0.variants.1.missing", 12),
        ("applications.9", 1),
        ("nothing.here", None),
    ],
)
def test_a_path_leads_to_the_line_of_the_deepest_part_that_is_there(path: str, line: int | None) -> None:
    assert line_of(TEXT, path) == line


def test_a_problem_s_second_path_continues_the_first() -> None:
    at = "applications.0.deployments.1.user_config"
    assert line_of_problem(TEXT, f"{at}: models.0.variants.1: each shape may be listed once") == 12
    assert line_of_problem(TEXT, f"{at}: models: the name a is taken already: really") == 8
    assert line_of_problem(TEXT, f"{at}.models.0.name on L4: too large") == 9
    assert line_of_problem(TEXT, "no path at all") is None


@pytest.mark.parametrize("text", ["", "a: [", "just text", "[" * 2000])
def test_a_text_without_the_path_has_no_line(text: str) -> None:
    assert line_of(text, "a.b") is None
