from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prefixes import CUTS, HASH_BYTES, MEDIA_BYTES, HeldPrefixes, Prefix, prefix_of

SYSTEM = {"role": "system", "content": "s" * 1000}
texts = st.text(min_size=1, max_size=3000)
hash_numbers = st.lists(st.integers(0, 2), max_size=12)


def chat(*contents: str) -> dict:
    turns = [{"role": "user", "content": content} for content in contents]
    return {"messages": [SYSTEM, *turns]}


def num_common(one: Prefix, other: Prefix) -> int:
    return len(set(one.hashes) & set(other.hashes))


def of_path(path: list[int]) -> Prefix:
    """A prefix whose hashes are the same as another's as far as their paths are."""
    hashes = tuple(bytes([*path[: end + 1]]).rjust(20) for end in range(len(path)))
    return Prefix(hashes, CUTS[len(path) - 1] if path else 0)


def test_a_conversation_goes_on_with_the_hashes_it_had() -> None:
    first = prefix_of(chat("a" * 700))
    second = prefix_of(chat("a" * 700, "b" * 900))
    assert second.hashes[: len(first.hashes)] == first.hashes
    assert len(second.hashes) > len(first.hashes) >= 6
    assert second.num_bytes > 2600


def test_prompts_have_in_common_what_they_begin_with_alike() -> None:
    one, other = prefix_of(chat("a" * 3000)), prefix_of(chat("b" * 3000))
    # The system message is the same, and the head of the next one.
    assert num_common(one, other) == sum(cut < 1050 for cut in CUTS)


@pytest.mark.parametrize(
    "change",
    [
        {"cache_salt": "x"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "user", "content": "s" * 1000}]},
    ],
)
def test_what_changes_the_beginning_of_the_prompt_changes_every_hash(change: dict) -> None:
    assert num_common(prefix_of(chat("a" * 500)), prefix_of({**chat("a" * 500), **change})) == 0


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"model": "m"}, {"stream": True}])
def test_what_is_no_part_of_the_prompt_changes_nothing(change: dict) -> None:
    assert prefix_of({**chat("a" * 500), **change}) == prefix_of(chat("a" * 500))


def test_tenants_and_adapters_have_nothing_in_common() -> None:
    salts = [(), ("acme",), ("acme", "adapter"), ("acmeadapter",), ("other", "adapter")]
    prefixes = [prefix_of(chat("a" * 500), salt) for salt in salts]
    assert len({prefix.hashes for prefix in prefixes}) == len(salts)
    assert all(num_common(one, other) == 0 for one in prefixes for other in prefixes if one is not other)


def test_an_image_counts_as_much_whatever_its_encoding_takes() -> None:
    def seen(image: str) -> Prefix:
        part = {"type": "image_url", "image_url": {"url": image}}
        return prefix_of({"messages": [{"role": "user", "content": [part, {"type": "text", "text": "what is it?"}]}]})

    small, large = seen("a" * 100), seen("b" * 1_000_000)
    assert small.num_bytes == large.num_bytes > MEDIA_BYTES
    assert small == seen("a" * 100) != large


@pytest.mark.parametrize("prompt", ["p" * 600, ["p" * 600], list(range(200)), [[1] * 150, [2**40] * 60]])
def test_every_form_of_a_prompt_has_hashes(prompt: object) -> None:
    prefix = prefix_of({"prompt": prompt})
    assert len(prefix.hashes) >= 2
    assert prefix == prefix_of({"prompt": prompt})


def test_a_very_long_prompt_has_few_hashes_and_its_whole_length() -> None:
    prefix = prefix_of({"prompt": "p" * 3_000_000})
    assert len(prefix.hashes) == len(CUTS)
    assert prefix.num_bytes >= 3_000_000


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=4)))
def test_no_json_value_is_too_odd_for_a_prompt(value: object) -> None:
    prefix = prefix_of({"messages": value})
    assert all(len(hash) == HASH_BYTES for hash in prefix.hashes)
    assert len(prefix.hashes) == sum(cut < prefix.num_bytes for cut in CUTS)


@given(
    st.lists(hash_numbers, max_size=40), hash_numbers, st.integers(0, 20) | st.none(), st.integers(0, 20) | st.none()
)
def test_a_cache_stays_within_its_bounds_and_holds_beginnings_only(
    served: list[list[int]], asked: list[int], most_hashes: int | None, most_cuts: int | None
) -> None:
    held = HeldPrefixes()
    max_hashes = 10**6 if most_hashes is None else most_hashes
    max_bytes = 10**9 if most_cuts is None else CUTS[most_cuts]
    for path in served:
        held.add(of_path(path).hashes, max_bytes, max_hashes)
        assert len(held) <= max_hashes
        assert 0 <= held.num_bytes <= max_bytes
    # Held is exactly as much as can be found hash by hash, so nothing lies behind a gap.
    prefix = of_path(asked)
    is_held = [hash in held._steps for hash in prefix.hashes]
    assert is_held == sorted(is_held, reverse=True)
    assert held.num_held_bytes(prefix) == ((0, *CUTS)[sum(is_held)])


def test_the_end_of_what_was_used_least_recently_goes_first() -> None:
    held, old, new = HeldPrefixes(), of_path([0, 0, 0, 0]), of_path([1, 1])
    held.add(old.hashes, 10**9, 10)
    held.add(new.hashes, 10**9, 4)
    assert held.num_held_bytes(old) == CUTS[1]
    assert held.num_held_bytes(new) == CUTS[1]
    held.add(old.hashes[:2], 10**9, 2)
    assert held.num_held_bytes(new) == 0
