"""Reads an OpenAPI document from standard input and says on standard output what is wrong with it, a line each: the document
itself (OpenAPI 3.1), and every example against its schema."""

import json
import sys

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def media(node, path=""):
    """Every media type object with a schema and an example."""
    if isinstance(node, dict):
        if "example" in node and "schema" in node:
            yield path, node
        for key, value in node.items():
            if key not in ("schema", "example"):
                yield from media(value, f"{path}/{key}")


def main():
    document = json.load(sys.stdin)
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        print("document:", "/".join(map(str, error.absolute_path)), error.message[:300])
    for path, node in media(document):
        schema = {**node["schema"], "components": document["components"]}
        for error in OAS31Validator(schema).iter_errors(node["example"]):
            print("example:", path, "/".join(map(str, error.absolute_path)), error.message[:300])


main()
