from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from catalog.names import AdapterName, BaseName, CheckpointName, closest_names, parse_name

PART = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,20}[A-Za-z0-9])?"
parts = st.from_regex(PART, fullmatch=True)
bases = st.one_of(parts, st.tuples(parts, parts).map("/".join))


@given(base=bases)
def test_a_base_name_is_its_own_base(base: str) -> None:
    assert parse_name(base) == ("base", base, None, None)


@given(base=bases, job=parts)
def test_an_adapter_name_comes_apart_into_what_it_was_made_of(base: str, job: str) -> None:
    assert parse_name(f"peft:{base}:{job}") == ("peft", base, job, None)


@given(base=bases, job=parts, checkpoint=st.none() | parts)
def test_a_checkpoint_name_comes_apart_into_what_it_was_made_of(base: str, job: str, checkpoint: str | None) -> None:
    name = ":".join(["rl", base, job, *([checkpoint] if checkpoint else [])])
    assert parse_name(name) == ("rl", base, job, checkpoint)


@given(name=st.one_of(st.text(max_size=300), st.from_regex(r"(peft|rl):[\w./:-]{0,40}"), st.from_regex(r"[\w./: -]*")))
def test_whatever_parses_is_the_name_itself_and_safe(name: str) -> None:
    try:
        parsed = parse_name(name)
    except ValueError:
        return
    pieces = [parsed.base, *filter(None, (parsed.job, parsed.checkpoint))]
    kind = [] if parsed.kind == "base" else [parsed.kind]
    assert ":".join([*kind, *pieces]) == name
    assert ".." not in name
    assert name.isascii()
    assert name.isprintable()
    assert not any(piece.startswith(("/", ".", "-")) or piece.endswith(("/", ".", "-")) for piece in pieces)


@pytest.mark.parametrize(
    "name",
    [
        "", "/", ".", "..", "../x", "a/../b", "a..b", "/etc/passwd", "a/", "/a", "a//b", "a/b/c", "a b", "a\n", "a\0",
        "-a", "a-", ".a", "a.", "é", "a:b", "lora:a:b", "PEFT:a:b", "peft:a", "peft::b", "peft:a:", "peft:a:b:c",
        "peft:a:../b", "peft:a:b/c", "rl:a", "rl:a:b:", "rl:a:b:../c", "rl:a:b:c:d", "peft:peft:a:b", "a" * 129,
        f"{'a' * 100}/{'b' * 100}/{'c' * 100}", f"peft:{'a' * 128}/{'b' * 128}:c",
    ],
)  # fmt: skip
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        parse_name(name)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (BaseName, "Qwen/Qwen3-0.6B", "peft:a:b"),
        (AdapterName, "peft:Qwen/Qwen3-0.6B:job_1", "a"),
        (CheckpointName, "rl:a:job:checkpoint-epoch-1", "peft:a:b"),
    ],
)
def test_a_setting_takes_only_names_of_its_own_form(form: type, good: str, bad: str) -> None:
    adapter = TypeAdapter(form)
    assert adapter.validate_python(good) == good
    with pytest.raises(ValidationError, match="expected a name of the form"):
        adapter.validate_python(bad)


KNOWN = ("demo-chat", "Acme/Demo-1B", "qwen3-chat", "peft:demo-chat:job_pirate")


@pytest.mark.parametrize(
    ("wanted", "closest"),
    [("Demo-Chat", "demo-chat"), ("demo", "demo-chat"), ("demo-chat-v2", "demo-chat"), ("demo-caht", "demo-chat"),
     ("acme/demo-1b", "Acme/Demo-1B"), ("Qwen3", "qwen3-chat"),
     ("peft:demo-chat:job_pirat", "peft:demo-chat:job_pirate")],
)  # fmt: skip
def test_the_name_that_was_meant_is_suggested_first(wanted: str, closest: str) -> None:
    assert closest_names(wanted, KNOWN)[0] == closest


@pytest.mark.parametrize("wanted", ["", "gpt-4o-mini", "../../etc/passwd", "x" * 100_000, "\ud800"])
def test_nothing_near_suggests_nothing(wanted: str) -> None:
    assert closest_names(wanted, KNOWN) == []


@given(name=st.text(max_size=40), known=st.lists(bases, max_size=20, unique=True), count=st.integers(1, 5))
def test_suggestions_are_known_distinct_and_few(name: str, known: list[str], count: int) -> None:
    found = closest_names(name, known, count)
    assert set(found) <= set(known)
    assert len(found) == len(set(found)) <= count


@given(known=st.lists(bases, min_size=1, max_size=20, unique_by=str.lower), data=st.data())
def test_a_name_that_differs_only_in_case_comes_first(known: list[str], data: st.DataObject) -> None:
    meant = data.draw(st.sampled_from(known))
    assert closest_names(meant.swapcase(), known)[0] == meant


def test_a_huge_catalog_does_not_make_a_wrong_name_expensive(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = difflib.get_close_matches

    def counting(word, possibilities, *args, **kwargs):
        possibilities = list(possibilities)
        compared.append(len(possibilities))
        return compare(word, possibilities, *args, **kwargs)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    known = [f"peft:demo-chat:job_{number:06}" for number in range(50_000)]
    assert closest_names("PEFT:demo-chat:job_049999", known)[0] == "peft:demo-chat:job_049999"
    assert sum(compared) <= 30


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("peft:model-0731:job_a0731", "peft:model-0731:job_0731"),
        ("model0731", "model-0731"),
        ("mdel-0731", "model-0731"),
    ],
)
def test_a_slip_in_one_of_thousands_of_like_names_is_found(wanted: str, meant: str) -> None:
    known = [form.format(number) for form in ("model-{0:04}", "peft:model-{0:04}:job_{0:04}") for number in range(2000)]
    assert closest_names(wanted, known)[0] == meant
