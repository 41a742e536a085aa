"""The template passes cfn-lint, as it is written and after its transforms: complaints on standard output, one a line."""

import json
import pathlib
import tempfile

from cfnlint.api import lint_file
from stack import TEMPLATE, expanded, of_type

# Of the expanded template only: loops leave substitutions behind that substitute nothing any more.
EXPANDED_MAY = {"W1020"}

# A template with a reference to nothing, made by a SAM resource's plain successor.
DANGLING = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Resources": {"Route": {"Type": "AWS::ApiGatewayV2::Route", "Properties": {"ApiId": {"Ref": "Nothing"}, "RouteKey": "$default"}}},
}


def complaints(path, may=frozenset()):
    found = [one for one in lint_file(path) if one.rule.id not in may]
    return [f"{one.rule.id} {one.message} ({'/'.join(map(str, one.path or []))})" for one in found]


def visibilities(template):
    """AWS asks for six times the time-out of the function that an event source calls."""
    queues, functions = of_type(template, "AWS::SQS::Queue"), of_type(template, "AWS::Lambda::Function")
    sources = of_type(template, "AWS::Lambda::EventSourceMapping")
    if not sources:
        yield "no function consumes a queue"
    for name, source in sources.items():
        properties = source["Properties"]
        visibility = queues[properties["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]["VisibilityTimeout"]
        limit = functions[properties["FunctionName"]["Ref"]]["Properties"]["Timeout"]
        if visibility < 6 * limit:
            yield f"{name}: {visibility} s of visibility for a function that may take {limit} s"
        if properties.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: a failed record would bring back the whole batch"


def main():
    for line in complaints(TEMPLATE):
        print("as written:", line)
    template = expanded()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "expanded.json"
        path.write_text(json.dumps(template))
        for line in complaints(path, EXPANDED_MAY):
            print("expanded:", line)
        # The linter is only trusted as far as it notices.
        path.write_text(json.dumps(DANGLING))
        if not any("Nothing" in line for line in complaints(path)):
            print("a dangling reference is not noticed")
    for line in visibilities(template):
        print("queues:", line)


if __name__ == "__main__":
    main()
