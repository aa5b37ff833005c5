from __future__ import annotations

import pytest

from raymux.client.address import DEFAULT_URL, Address, find_address, plain_url


@pytest.mark.parametrize(
    "url", ["http://host:8000", "http://host:8000/", "http://host:8000/v1", "http://host:8000/v1/", "host:8000"]
)
def test_every_spelling_of_an_address_is_the_same_one(url: str) -> None:
    assert plain_url(url) == "http://host:8000"
    assert Address(plain_url(url)).api_url == "http://host:8000/v1"


def test_a_path_before_v1_is_kept() -> None:
    assert plain_url("https://host/llm/v1/") == "https://host/llm"


@pytest.mark.parametrize("url", ["ftp://host", "http://", "unix:///run/raymux"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        plain_url(url)


def test_the_first_variable_that_is_set_counts_and_arguments_come_before_it() -> None:
    environment = {"BENTOML_URL": "http://c", "INFERENCE_URL": "http://b"}
    assert find_address(environment=environment).url == "http://b"
    assert find_address(environment={**environment, "RAYMUX_URL": "http://a/v1"}).url == "http://a"
    assert find_address("http://d", environment=environment).url == "http://d"
    assert find_address(environment={"RAYMUX_URL": ""}) == Address(DEFAULT_URL, None)


def test_the_key_is_raymux_s_own_and_never_openai_s() -> None:
    assert find_address(environment={"OPENAI_API_KEY": "sk-secret"}).api_key is None
    assert find_address(environment={"RAYMUX_API_KEY": "rmx-1", "OPENAI_API_KEY": "sk-secret"}).api_key == "rmx-1"
    assert find_address(api_key="rmx-2", environment={"RAYMUX_API_KEY": "rmx-1"}).api_key == "rmx-2"
