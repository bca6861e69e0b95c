#!/usr/bin/env python3
"""Writes compartments.inc of src/search: which reference parameters put a resource into a compartment.

    tools/gen_compartments.py [--check] [FOLDER]

Source: the CompartmentDefinition resources of FHIR R4 (4.0.1), which ./dev fhir-data brings into .deps/fhir-r4."""
import generated

args = generated.arguments(__doc__)
lines = ["/* Made by tools/gen_compartments.py from FHIR R4 (4.0.1); do not edit. */",
         "/* owner, type of the member, parameters any of which leads to the owner */"]
for definition in sorted(generated.definitions(args.folder, "CompartmentDefinition"), key=lambda d: d["code"]):
    for member in definition["resource"]:
        if member.get("param"):
            lines.append(f'COMPARTMENT("{definition["code"]}", "{member["code"]}", "{",".join(member["param"])}")')
generated.done(args.check, {generated.table("compartments.inc"): "\n".join(lines) + "\n"})
