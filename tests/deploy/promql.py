"""Prints, as JSON, the selectors and grouping labels of each PromQL expression of a JSON list on stdin.

Run by the validators' own Python, which has the parser.
"""

import json
import sys

import promql_parser


def describe(expression: str) -> dict[str, list]:
    """`selectors`: pairs of a metric and the labels it is matched on; `grouped`: labels of `by`, `on` and the like."""
    selectors, grouped = [], []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append([node.name, sorted({matcher.name for matcher in node.matchers.matchers})])
        modifier = getattr(node, "modifier", None)
        # Of an aggregation the modifier itself has the labels, of a binary expression its matching.
        for part in (modifier, getattr(modifier, "matching", None)):
            grouped.extend(getattr(part, "labels", None) or [])

    promql_parser.walk(promql_parser.parse(expression), visit)
    return {"selectors": selectors, "grouped": sorted(set(grouped))}


if __name__ == "__main__":
    json.dump([describe(expression) for expression in json.load(sys.stdin)], sys.stdout)
