#!/usr/bin/env python3
"""Writes types.inc of src/fhir: the concrete resource types of FHIR R4.

    tools/gen_fhir_types.py [--check] [FOLDER]

The place of a name in the list is its number in stored keys: rows are only ever appended.
Source: the StructureDefinition resources of FHIR R4 (4.0.1), which ./dev fhir-data brings into .deps/fhir-r4."""
import generated

args = generated.arguments(__doc__)
names = generated.resource_types(args.folder)
assert len(names) == 146, len(names)
lines = ["/* Made by tools/gen_fhir_types.py from FHIR R4 (4.0.1) resource-types; do not edit. */"]
lines += [f'TYPE({i}, "{name}")' for i, name in enumerate(names, 1)]
generated.done(args.check, {generated.table("types.inc"): "\n".join(lines) + "\n"})
