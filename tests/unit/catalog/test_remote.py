from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import AdapterSettings
from catalog.remote import RemoteSource, is_served, is_within_places, parse_place, parse_remote
from catalog.settings import CatalogSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://acme/pirate", RemoteSource("hf", "acme", ("pirate",))),
        ("hf://acme/pirate@v1.2/final/best", RemoteSource("hf", "acme", ("pirate", "final", "best"), "v1.2")),
        ("s3://models/adapters/job_7/", RemoteSource("s3", "models", ("adapters", "job_7"))),
        ("gs://my_bucket/a", RemoteSource("gs", "my_bucket", ("a",))),
        ("https://Models.Example.com/a.tar.gz", RemoteSource("https", "models.example.com:443", ("a.tar.gz",))),
        ("http://127.0.0.1:8080/x/a.zip", RemoteSource("http", "127.0.0.1:8080", ("x", "a.zip"))),
        ("http://[::1]/a.tgz", RemoteSource("http", "[::1]:80", ("a.tgz",))),
    ],
)
def test_each_form_is_known(text: str, expected: RemoteSource) -> None:
    assert parse_remote(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://host/a.tar.gz", "begins with hf, s3, gs, http, https"),
        ("file:///etc", "begins with"),
        ("S3://bucket/a", "begins with"),
        ("https://user:hunter2@host/a.tar.gz", "no user or password"),
        ("s3://key:hunter2@bucket/a", "no user or password"),
        ("hf://hunter2@acme/a", "no user or password"),
        ("https://host/a.tar.gz?X-Amz-Signature=hunter2", "no query"),
        ("s3://bucket/a?versionId=hunter2", "no query"),
        ("https://host/a.tar.gz#hunter2", "no query or fragment"),
        ("https://host/a", "an archive that ends in"),
        ("https://host/", "an archive that ends in"),
        ("https:///a.tar.gz", "names no host"),
        ("https://host:port/a.tar.gz", "names no host"),
        ("http://2130706433/a.tar.gz", "written in full"),
        ("http://0x7f000001/a.tar.gz", "written in full"),
        ("http://ho%73t/a.tar.gz", "names no host"),
        ("http://169.254.169.254/a.tar.gz", "nothing is fetched from that address"),
        ("http://[::ffff:169.254.169.254]/a.tar.gz", "nothing is fetched from that address"),
        ("s3://bucket", "expected a folder"),
        ("s3:///folder", "names no bucket"),
        ("s3://bucket/a/../b", "path"),
        ("s3://bucket/a/%2e%2e/b", "path"),
        ("s3://bucket//a", "path"),
        ("s3://bucket/a*", "path"),
        ("s3://bucket/a::http://other/x.zip", "path"),
        ("s3://bucket/a\\..\\b", "path"),
        ("s3://bucket/a\n", "path"),
        ("hf://acme", "expected hf://owner/name"),
        ("hf://acme/a@refs/pr/1", None),
        ("hf://acme/a/b@main", "revision stands behind"),
        ("hf://acme/a@", "expected hf://owner/name"),
        ("hf://../a", "expected hf://owner/name"),
    ],
)
def test_a_malformed_source_is_refused_without_being_repeated(text: str, said: str | None) -> None:
    if said is None:
        # A revision has no slash, so this is the folder pr/1 of the revision `refs`.
        assert parse_remote(text).revision == "refs"
        return
    with pytest.raises(ValueError, match=said) as caught:
        parse_remote(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "source", "is_held"),
    [
        ("s3://bucket/adapters/", "s3://bucket/adapters/job", True),
        ("s3://bucket/adapters", "s3://bucket/adapters", True),
        ("s3://bucket", "s3://bucket/any/where", True),
        ("s3://bucket/ad", "s3://bucket/adapters/job", False),
        ("s3://bucket/adapters", "s3://bucket2/adapters/job", False),
        ("s3://bucket/adapters", "gs://bucket/adapters/job", False),
        ("s3://bucket/adapters", "s3://bucket/adapters/../other", False),
        ("hf://acme", "hf://acme/model@v1/sub", True),
        ("hf://acme/", "hf://acme-evil/model", False),
        ("hf://acme/model", "hf://acme/model@v1", True),
        ("hf://acme/model@v1", "hf://acme/model", False),
        ("https://h.example", "https://H.example:443/a/b.tar.gz", True),
        ("https://h.example", "http://h.example/b.tar.gz", False),
        ("https://h.example", "https://h.example:8443/b.tar.gz", False),
        ("https://h.example", "https://h.example.evil/b.tar.gz", False),
        ("https://h.example", "https://h.example@evil/b.tar.gz", False),
        ("models", "s3://bucket/a", False),
    ],
)
def test_a_place_holds_whole_steps_below_it_and_nothing_else(place: str, source: str, is_held: bool) -> None:
    assert is_within_places(source, [place]) is is_held


@given(st.text(max_size=40))
def test_nothing_leads_out_of_a_place(tail: str) -> None:
    source = f"s3://bucket/adapters/{tail}"
    if is_within_places(source, ["s3://bucket/adapters"]):
        assert ".." not in parse_remote(source).segments
        assert not set(tail) & set("%?#\\*:")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors", True),
        ("1_Pooling/config.json", True),
        ("tokenizer.model", True),
        ("adapter_model.bin", False),
        ("weights.pt", False),
        ("training_args.pkl", False),
        ("evil.model", False),
        ("modeling_x.py", False),
        (".git/config.json", False),
        ("__MACOSX/a.json", False),
        ("model.safetensors.pkl", False),
    ],
)
def test_only_safetensors_and_text_is_served(path: str, expected: bool) -> None:
    assert is_served(path) is expected


def test_settings_say_what_is_wrong_with_a_url_and_where() -> None:
    with pytest.raises(ValueError, match="no user or password"):
        AdapterSettings(name="peft:base:job", source="https://u:p@host/a.zip")
    model = {"name": "base", "source": "hf://acme/base", "variants": [{"shape": "CPU"}]}
    with pytest.raises(ValueError, match=r"runtime_sources\.0"):
        CatalogSettings.model_validate({"models": [model], "runtime_sources": ["ftp://x"]})
    assert parse_place("hf://acme").holds(parse_remote(model["source"]))
