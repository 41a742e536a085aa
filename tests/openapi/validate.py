"""Reads `{document, answers}` from standard input and says on standard output what is wrong, a line each: with the OpenAPI
document itself (3.1), with its examples, and with answers of a server, `{method, path, status, body}`, that it does not describe.
In answers, a field that the document does not know is wrong, too."""

import copy
import json
import sys

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def examples(node, path=""):
    """Every media type object with a schema and an example."""
    if isinstance(node, dict):
        if "example" in node and "schema" in node:
            yield path, node
        for key, value in node.items():
            if key not in ("schema", "example"):
                yield from examples(value, f"{path}/{key}")


def closed(node):
    """The same schemas, but objects have no other fields than those that are listed."""
    if isinstance(node, dict):
        for value in node.values():
            closed(value)
        if isinstance(node.get("properties"), dict):
            node.setdefault("additionalProperties", False)
    elif isinstance(node, list):
        for value in node:
            closed(value)
    return node


def errors(schema, components, value):
    """What is wrong with the value, as texts."""
    validator = OAS31Validator({**schema, "components": components}, format_checker=OAS31Validator.FORMAT_CHECKER)
    for error in validator.iter_errors(value):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"


def main():
    given = json.load(sys.stdin)
    document = given["document"]
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        print("document:", "/".join(map(str, error.absolute_path)), error.message[:300])
    for path, node in examples(document):
        for error in errors(node["schema"], document["components"], node["example"]):
            print("example:", path, error)
    strict = closed(copy.deepcopy(document))
    for answer in given["answers"]:
        name = f"{answer['method']} {answer['path']} {answer['status']}"
        response = strict["paths"][answer["path"]][answer["method"].lower()]["responses"].get(str(answer["status"]))
        if response is None:
            print("answer:", name, "is no status of it")
            continue
        if "$ref" in response:
            response = strict["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        media = response.get("content", {}).get("application/json")
        if answer["body"] is None:
            continue
        if media is None:
            print("answer:", name, "has no JSON")
            continue
        for error in errors(media["schema"], strict["components"], answer["body"]):
            print("answer:", name, error)


main()
