#!/usr/bin/env python3
"""Writes shapes.inc: the shapes of the control plane, from botocore's model of HealthLake.

    tools/gen_shapes.py [--check]

Source: the botocore that Python finds; it is to be 1.44.8 or newer. `./dev generate` makes an environment of its own with that
version in .deps/botocore, and runs this script there.

Patterns are whole matches: anchors that botocore's copy drops are implied by the matcher. Operations that are not offered
are printed by name, so that they can be refused by name; members that are not honoured carry what says so little that it
asks for nothing."""
import sys

import botocore.session

import generated

args = generated.arguments(__doc__, reads_definitions=False)
lines = []
model = botocore.session.get_session().get_service_model("healthlake")
order = []
OFFERED = {
    "CreateFHIRDatastore", "DeleteFHIRDatastore", "DescribeFHIRDatastore", "ListFHIRDatastores",
    "RestoreFHIRDatastore", "UpdateFHIRDatastore",
    "StartFHIRExportJob", "DescribeFHIRExportJob", "ListFHIRExportJobs",
    "StartFHIRImportJob", "DescribeFHIRImportJob", "ListFHIRImportJobs",
    "ListTagsForResource", "TagResource", "UntagResource",
}
# Members that we do not honour -> the values of their Status, or of the boolean, that ask for nothing.
NOT_HONOURED = {
    ("CreateFHIRDatastoreRequest", "AnalyticsConfiguration"): "DISABLED PAUSED",
    ("CreateFHIRDatastoreRequest", "NlpConfiguration"): "DISABLED",
    ("CreateFHIRDatastoreRequest", "ProfileConfiguration"): "",
    ("RestoreFHIRDatastoreRequest", "AnalyticsConfiguration"): "DISABLED PAUSED",
    ("RestoreFHIRDatastoreRequest", "NlpConfiguration"): "DISABLED",
    ("RestoreFHIRDatastoreRequest", "ProfileConfiguration"): "",
    ("UpdateFHIRDatastoreRequest", "AnalyticsConfiguration"): "DISABLED PAUSED",
    ("UpdateFHIRDatastoreRequest", "NlpConfiguration"): "DISABLED",
    ("UpdateFHIRDatastoreRequest", "ProfileConfiguration"): "",
    ("StartFHIRImportJobRequest", "ProfileId"): "",
    ("StartFHIRImportJobRequest", "InputFormat"): "",
    ("StartFHIRImportJobRequest", "DriftDetectionEnabled"): "false",
}
if missing := OFFERED - set(model.operation_names):
    sys.exit(f"this botocore does not know {sorted(missing)}")
for request, member in NOT_HONOURED:
    if member not in model.shape_for(request).members:
        sys.exit(f"this botocore's {request} has no {member}: take a newer one")


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
    if name not in OFFERED:
        continue
    operation = model.operation_model(name)
    visit(operation.input_shape)
    visit(operation.output_shape)

KIND = {"string": "STRING", "integer": "INTEGER", "long": "LONG", "double": "DOUBLE", "boolean": "BOOLEAN",
        "timestamp": "TIMESTAMP", "structure": "STRUCTURE", "list": "LIST"}
SECRET = {"ConfigurationMetadata"}


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?") + '"'


lines.append("/* Made by tools/gen_shapes.py from the service model of HealthLake (2017-07-01); do not edit. */")
lines.append("#ifdef SHAPE_IDS")
for name in order:
    lines.append(f"SHAPE_{name},")
lines.append("#endif\n#ifdef SHAPE_TABLES")
for name in order:
    shape = model.shape_for(name)
    if shape.type_name == "structure" and shape.members:
        lines.append(f"static const struct shape_member members_{name}[] = {{")
        for member, target in shape.members.items():
            required = "true" if member in shape.required_members else "false"
            off = NOT_HONOURED.get((name, member))
            lines.append(f"    {{ {quote(member)}, SHAPE_{target.name}, {required}{'' if off is None else ', ' + quote(off)} }},")
        lines.append("};")
    if getattr(shape, "enum", None):
        lines.append(f"static const char *const enum_{name}[] = {{ {', '.join(quote(v) for v in shape.enum)}, NULL }};")
lines.append("static const struct shape shapes[] = {")
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
    lines.append(f"    [SHAPE_{name}] = {{ {', '.join(fields)} }},")
lines.append("};\n#endif\n#ifdef SHAPE_OPERATIONS")
for name in model.operation_names:
    if name not in OFFERED:
        lines.append(f"NOT_OFFERED({name})")
        continue
    operation = model.operation_model(name)
    lines.append(f"OPERATION({name}, SHAPE_{operation.input_shape.name}, SHAPE_{operation.output_shape.name})")
lines.append("#endif")
generated.done(args.check, {generated.table("shapes.inc"): "\n".join(lines) + "\n"})
