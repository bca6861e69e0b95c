#!/usr/bin/env python3
"""Writes src/service/shapes.inc: the shapes of the control plane, from botocore's model of HealthLake.

Usage: tools/gen_shapes.py >src/service/shapes.inc      (needs botocore; the result is committed)

Patterns are whole matches: anchors that botocore's copy drops are implied by the matcher."""
import json
import sys

import botocore.session

model = botocore.session.get_session().get_service_model("healthlake")
order = []


def visit(shape):
    if shape.name in order:
        return
    if shape.type_name == "structure":
        for member in shape.members.values():
            visit(member)
    elif shape.type_name == "list":
        visit(shape.member)
    order.append(shape.name)


for name in model.operation_names:
    operation = model.operation_model(name)
    visit(operation.input_shape)
    visit(operation.output_shape)

KIND = {"string": "STRING", "integer": "INTEGER", "long": "LONG", "double": "DOUBLE", "boolean": "BOOLEAN",
        "timestamp": "TIMESTAMP", "structure": "STRUCTURE", "list": "LIST"}
SECRET = {"ConfigurationMetadata"}


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?") + '"'


print("/* Made by tools/gen_shapes.py from the service model of HealthLake (2017-07-01); do not edit. */")
print("#ifdef SHAPE_IDS")
for name in order:
    print(f"SHAPE_{name},")
print("#endif\n#ifdef SHAPE_TABLES")
for name in order:
    shape = model.shape_for(name)
    if shape.type_name == "structure" and shape.members:
        print(f"static const struct shape_member members_{name}[] = {{")
        for member, target in shape.members.items():
            required = "true" if member in shape.required_members else "false"
            print(f"    {{ {quote(member)}, SHAPE_{target.name}, {required} }},")
        print("};")
    if getattr(shape, "enum", None):
        print(f"static const char *const enum_{name}[] = {{ {', '.join(quote(v) for v in shape.enum)}, NULL }};")
print("static const struct shape shapes[] = {")
for name in order:
    shape = model.shape_for(name)
    kind = "UNION" if getattr(shape, "is_tagged_union", False) else KIND[shape.type_name]
    fields = [f".name = {quote(name)}", f".kind = SHAPE_KIND_{kind}"]
    meta = shape.metadata
    fields.append(f".min = {meta.get('min', -1)}")
    fields.append(f".max = {meta.get('max', -1)}")
    if meta.get("pattern"):
        fields.append(f".pattern = {quote(meta['pattern'])}")
    if getattr(shape, "enum", None):
        fields.append(f".values = enum_{name}")
    if shape.type_name == "structure" and shape.members:
        fields.append(f".members = members_{name}, .n_members = {len(shape.members)}")
    if shape.type_name == "list":
        fields.append(f".item = SHAPE_{shape.member.name}")
    if name in SECRET:
        fields.append(".secret = true")
    print(f"    [SHAPE_{name}] = {{ {', '.join(fields)} }},")
print("};\n#endif\n#ifdef SHAPE_OPERATIONS")
for name in model.operation_names:
    operation = model.operation_model(name)
    print(f"OPERATION({name}, SHAPE_{operation.input_shape.name}, SHAPE_{operation.output_shape.name})")
print("#endif")
