"""Words for JSON schemas, so that the tables beside this file stay readable."""

STR = {"type": "string"}
INT = {"type": "integer"}
NUM = {"type": "number"}
BOOL = {"type": "boolean"}
TIME = {"type": "string", "format": "date-time"}
ANY_OBJECT = {"type": "object", "additionalProperties": True}


def d(schema, description, **more):
    """The schema with a description, and whatever else JSON Schema knows (minimum, maxLength, default…)."""
    return {**schema, "description": description, **more}


def null(schema):
    """The schema, or null."""
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def arr(items, **more):
    return {"type": "array", "items": items, **more}


def one_of(*words, **more):
    return {"type": "string", "enum": list(words), **more}


def text(most, least=1):
    """A text of that many characters."""
    return {"type": "string", "minLength": least, "maxLength": most}


def whole(least, most=None, default=None):
    """A whole number in that range."""
    schema = {"type": "integer", "minimum": least}
    if most is not None:
        schema["maximum"] = most
    if default is not None:
        schema["default"] = default
    return schema


def obj(fields, **more):
    """An object. A field whose name ends in `?` may be missing."""
    required = [name for name in fields if not name.endswith("?")]
    schema = {"type": "object", "properties": {name.rstrip("?"): schema for name, schema in fields.items()}}
    if required:
        schema["required"] = required
    return {**schema, **more}


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}
