#!/usr/bin/env python3
"""Prints src/search/compartments.inc: which reference parameters put a resource into a compartment.

    tools/gen_compartments.py ../shared/fhir-r4 > src/search/compartments.inc

Source: FHIR R4 (4.0.1) CompartmentDefinition resources (CC0)."""
import gzip
import json
import pathlib
import sys

print("/* Made by tools/gen_compartments.py from FHIR R4 (4.0.1); do not edit. */")
print("/* owner, type of the member, parameters any of which leads to the owner */")
with gzip.open(pathlib.Path(sys.argv[1]) / "compartmentdefinitions.ndjson.gz", "rt") as f:
    for line in sorted(f, key=lambda x: json.loads(x)["code"]):
        definition = json.loads(line)
        for member in definition["resource"]:
            if member.get("param"):
                print(f'COMPARTMENT("{definition["code"]}", "{member["code"]}", "{",".join(member["param"])}")')
