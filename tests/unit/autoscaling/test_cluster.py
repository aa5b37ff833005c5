from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.cluster import Cluster, Footing, Node, NodeType

H100 = {"GPU": 1.0, "CPU": 1.0, "accelerator_type:H100": 0.001}
H100_NODE = {"GPU": 4.0, "CPU": 16.0, "accelerator_type:H100": 1.0}
A10G_NODE = {"GPU": 1.0, "CPU": 8.0, "accelerator_type:A10G": 1.0}
HEAD = {"CPU": 8.0}


def node(total: dict[str, float], **held: float) -> Node:
    return Node(total, {name: amount - held.get(name, 0.0) for name, amount in total.items()})


@pytest.mark.parametrize(
    ("nodes", "types", "footing"),
    [
        ([node(HEAD), node(H100_NODE)], [], Footing.NOW),
        ([node(HEAD), node(H100_NODE, GPU=1.0)], [], Footing.OCCUPIED),
        ([node(HEAD), node(H100_NODE, GPU=1.0)], [NodeType("h100", H100_NODE, 1)], Footing.ADDABLE),
        ([node(HEAD)], [NodeType("h100", H100_NODE, 1)], Footing.ADDABLE),
        ([node(HEAD)], [NodeType("h100", H100_NODE, 0), NodeType("a10g", A10G_NODE, 9)], Footing.NEVER),
        ([node(HEAD), node({**H100_NODE, "GPU": 3.0}), node({**H100_NODE, "GPU": 3.0})], [], Footing.NEVER),
    ],
    ids=["free", "held", "held-but-addable", "addable", "none-left", "split-over-nodes"],
)
def test_four_gpus_of_one_node(nodes: list[Node], types: list[NodeType], footing: Footing) -> None:
    assert Cluster(tuple(nodes), tuple(types), max_addable=10).footing([H100] * 4) is footing


def test_pipeline_stages_spread_over_nodes_that_run_and_nodes_that_may_be_added() -> None:
    eight = [H100] * 8
    assert Cluster((node(H100_NODE), node(H100_NODE))).footing(eight, "PACK") is Footing.NOW
    one_more = Cluster((node(H100_NODE),), (NodeType("h100", H100_NODE, 1),), max_addable=1)
    assert one_more.footing(eight, "PACK") is Footing.ADDABLE
    assert one_more.footing(eight, "STRICT_PACK") is Footing.NEVER
    assert one_more.footing([H100] * 12, "PACK") is Footing.NEVER


def test_the_limit_over_all_types_counts() -> None:
    cluster = Cluster((node(HEAD),), (NodeType("h100", H100_NODE, 5),), max_addable=0)
    assert cluster.footing([H100]) is Footing.NEVER
    assert cluster.count("GPU") == (0.0, 0.0, 0.0)


def test_a_fraction_that_was_left_after_many_others_still_fits() -> None:
    third = {"GPU": 0.1}
    cluster = Cluster((Node({"GPU": 1.0}, {"GPU": 1.0 - sum([0.1] * 9)}),))
    assert cluster.footing([third]) is Footing.NOW
    assert cluster.footing([third] * 2) is Footing.OCCUPIED


def test_gpus_are_counted_by_type() -> None:
    cluster = Cluster((node(HEAD), node(H100_NODE, GPU=3.0)), (NodeType("a10g", A10G_NODE, 2),), max_addable=8)
    assert cluster.restricted_to("accelerator_type:H100").count("GPU") == (4.0, 1.0, 0.0)
    assert cluster.restricted_to("accelerator_type:A10G").count("GPU") == (0.0, 0.0, 2.0)
    assert cluster.count("CPU") == (24.0, 24.0, 16.0)


amounts = st.integers(0, 8).map(float)
resources = st.fixed_dictionaries({"GPU": amounts, "CPU": amounts})


@given(free=st.lists(resources, max_size=4), bundles=st.lists(resources, min_size=1, max_size=4))
def test_what_fits_one_node_fits_many_and_more_room_never_hurts(free, bundles) -> None:
    cluster = Cluster(tuple(Node(each, each) for each in free))
    wider = Cluster((*cluster.nodes, Node({"GPU": 1.0}, {"GPU": 1.0})))
    if cluster.footing(bundles, "STRICT_PACK") is Footing.NOW:
        assert cluster.footing(bundles, "PACK") is Footing.NOW
        assert wider.footing(bundles, "STRICT_PACK") is Footing.NOW
