#!/usr/bin/env python3
"""Writes src/fhir/types.inc: the concrete resource types of FHIR R4, from the official list.

Usage: tools/gen_fhir_types.py resource-types.json >src/fhir/types.inc
The place of a name in the list is its number in stored keys: rows are only ever appended."""
import json
import sys

names = json.load(open(sys.argv[1]))
assert names == sorted(names) and len(names) == 146, len(names)
print("/* Made by tools/gen_fhir_types.py from FHIR R4 (4.0.1) resource-types; do not edit. */")
for i, name in enumerate(names, 1):
    print(f'TYPE({i}, "{name}")')
