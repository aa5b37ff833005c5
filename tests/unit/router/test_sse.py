from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sse import EventReader, data_event, named_event


@given(data=st.data(), eol=st.sampled_from(["\n", "\r\n"]))
def test_events_are_the_same_however_their_bytes_are_cut(data: st.DataObject, eol: str):
    texts = data.draw(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), max_size=4))
    raw = b"".join(f"event: e{eol}data: x{text}{eol}: note{eol}{eol}".encode() for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    reader, events = EventReader(10_000), []
    for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        events += reader.feed(raw[begin:end])
    assert [event.data for event in events if event.data is not None] == [f"x{text}".encode() for text in texts]
    assert b"".join(event.raw for event in events) == raw


def test_comments_have_no_data_and_several_lines_are_joined():
    comment, event = EventReader(100).feed(b": hi\n\nevent:a\ndata: 1\ndata:2\n\n")
    assert comment.data is None
    assert (event.name, event.data) == ("a", b"1\n2")


def test_an_event_without_an_end_is_bounded():
    reader = EventReader(1000)
    assert reader.feed(b"x" * 1000) == []
    with pytest.raises(ValueError):
        reader.feed(b"x")


def test_what_is_written_is_read_back():
    data, named = EventReader(1000).feed(data_event({"a": "\n"}) + named_event({"type": "ping"}))
    assert (data.name, data.data) == ("", b'{"a": "\\n"}')
    assert (named.name, named.data) == ("ping", b'{"type": "ping"}')
