from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.cluster import Cluster, Footing, Node, NodeType
from autoscaling.yielding import Holder, job_that_yields

WANTED = ({"GPU": 2.0},)


def node(total: float, free: float) -> Node:
    return Node({"GPU": total}, {"GPU": free})


def holder(id: str, *gpus: float, started_s: float = 1.0) -> Holder:
    return Holder(id, tuple({"GPU": each} for each in gpus), started_s)


def yields(cluster: Cluster, *holders: Holder) -> str | None:
    return job_that_yields(cluster, WANTED, "STRICT_PACK", holders)


def test_the_job_that_was_started_last_gives_way() -> None:
    cluster = Cluster((node(4, 0),))
    assert yields(cluster, holder("old", 1, 1, started_s=1), holder("new", 2, started_s=2)) == "new"


def test_a_job_that_is_too_small_is_not_disturbed_in_vain() -> None:
    cluster = Cluster((node(4, 0),))
    assert yields(cluster, holder("small", 1, started_s=2)) is None
    assert yields(cluster, holder("small", 1, started_s=2), holder("large", 2, started_s=1)) == "large"


def test_what_is_free_beside_a_job_counts() -> None:
    assert yields(Cluster((node(4, 1),)), holder("a", 1)) == "a"
    assert yields(Cluster((node(4, 0), node(4, 1))), holder("a", 1)) == "a"


def test_a_job_is_on_no_node_that_is_emptier_than_it() -> None:
    """Two free of three: it cannot hold two there."""
    assert yields(Cluster((node(2, 1), node(1, 0))), holder("a", 2)) is None


def test_nobody_gives_way_while_there_is_room_or_a_node_may_be_added() -> None:
    assert yields(Cluster((node(4, 2),)), holder("a", 2)) is None
    assert yields(Cluster((node(2, 0),), (NodeType("gpu", {"GPU": 2.0}, 1),), 1), holder("a", 2)) is None
    assert yields(Cluster((node(1, 0),)), holder("a", 1)) is None, "it never has room"
    assert yields(Cluster((node(2, 0),))) is None


_AMOUNTS = st.integers(0, 4).map(float)


@given(
    st.lists(st.tuples(_AMOUNTS, _AMOUNTS).map(lambda each: node(max(each), min(each))), max_size=4),
    st.lists(st.tuples(st.lists(_AMOUNTS, min_size=1, max_size=3), st.floats(0, 9)), max_size=4),
)
def test_whoever_gives_way_was_needed(nodes: list[Node], held: list[tuple[list[float], float]]) -> None:
    cluster = Cluster(tuple(nodes))
    holders = [holder(str(index), *gpus, started_s=at_s) for index, (gpus, at_s) in enumerate(held)]
    chosen = yields(cluster, *holders)
    if chosen is not None:
        assert cluster.footing(WANTED) is Footing.OCCUPIED
        assert sum(worker["GPU"] for worker in holders[int(chosen)].workers) > 0
