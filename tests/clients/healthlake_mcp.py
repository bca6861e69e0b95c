"""AWS's own HealthLake MCP server, driven through its tools as an assistant drives them, against a fhirlake behind
healthlake_door.py. Run by tests/e2e/test_clients.py in a virtual environment that has awslabs.healthlake-mcp-server."""
import asyncio
import json
import os
import sys
import time

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

STORE = os.environ["STORE"]
ROLE = "arn:aws:iam::000000000000:role/mcp"
KEY = "alias/mcp"


def ok(what):
    print(f"ok - {what}", flush=True)


async def talk(session):
    async def tool(name, **arguments):
        answer = await session.call_tool(name, arguments)
        text = answer.content[0].text
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise AssertionError(f"{name}: {text}")

    def store(name, **arguments):
        return tool(name, datastore_id=STORE, **arguments)

    names = {t.name for t in (await session.list_tools()).tools}
    assert len(names) == 11, names
    ok("tools")
    listed = await tool("list_datastores")
    assert STORE in [d["DatastoreId"] for d in listed["DatastorePropertiesList"]], listed
    assert STORE in json.dumps(await tool("list_datastores", filter="ACTIVE"))
    ok("list_datastores")
    assert (await store("get_datastore_details"))["DatastoreProperties"]["DatastoreStatus"] == "ACTIVE"
    ok("get_datastore_details")

    made = await store("create_fhir_resource", resource_type="Patient", resource_data={
        "resourceType": "Patient", "name": [{"family": "Lovelace", "given": ["Ada"]}], "gender": "female"})
    patient = made["id"]
    ok("create_fhir_resource")
    read = await store("read_fhir_resource", resource_type="Patient", resource_id=patient)
    assert read["name"][0]["family"] == "Lovelace"
    ok("read_fhir_resource")
    changed = await store("update_fhir_resource", resource_type="Patient", resource_id=patient,
                          resource_data={**read, "birthDate": "1815-12-10"})
    assert changed["birthDate"] == "1815-12-10" and changed["meta"]["versionId"] == "2"
    ok("update_fhir_resource")
    for i in range(12):
        await store("create_fhir_resource", resource_type="Observation", resource_data={
            "resourceType": "Observation", "status": "final", "code": {"text": f"mark {i:02}"},
            "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": f"2020-01-{i + 1:02}"})

    seen, token = [], None
    for _ in range(4):
        page = await store("search_fhir_resources", resource_type="Observation", count=5,
                           search_params={"subject": f"Patient/{patient}", "status": ["final", "amended"]},
                           **({"next_token": token} if token else {}))
        seen += [e["resource"]["id"] for e in page["entry"]]
        assert "Patient%2F" not in json.dumps(page["link"]), "links do not say what was posted"
        token = page["pagination"]["next_token"]
        if not token:
            break
    assert len(seen) == len(set(seen)) == 12, seen
    ok("search_fhir_resources: every page")
    found = await store("search_fhir_resources", resource_type="Patient", search_params={"name:contains": "velac"})
    assert [e["resource"]["id"] for e in found["entry"]] == [patient], found
    nobody = await store("search_fhir_resources", resource_type="Patient", search_params={"name:exact": "lovelac"})
    assert nobody["entry"] == [], nobody
    ok("search_fhir_resources: modifiers")
    chained = await store("search_fhir_resources", resource_type="Observation", count=50,
                          chained_params={"subject:Patient.name": "lovelace"},
                          include_params=["Observation:subject", "Observation:encounter"])
    assert len(chained["entry"]) == 12 and patient in chained["included"]["Patient"]
    back = await store("search_fhir_resources", resource_type="Patient", search_params={"_id": patient},
                       revinclude_params=["Observation:subject", "Condition:subject"])
    assert len(back["included"]["Observation"]) == 12
    ok("search_fhir_resources: chains, several includes")

    seen, token = [], None
    for _ in range(6):
        page = await store("patient_everything", patient_id=patient, count=4,
                           **({"next_token": token} if token else {"start": "2020-01-03", "end": "2020-12-31"}))
        seen += [e["resource"]["id"] for e in page["entry"]]
        assert page["total"] == 11
        token = page["pagination"]["next_token"]
        if not token:
            break
    assert len(seen) == len(set(seen)) == 11 and patient in seen
    ok("patient_everything: every page")

    started = await store("start_fhir_export_job", data_access_role_arn=ROLE, job_name="mcp",
                          output_data_config={"s3_configuration": {"s3_uri": "s3://mcp/export", "kms_key_id": KEY}})
    assert started["JobStatus"] == "SUBMITTED", started
    until = time.monotonic() + 60
    while True:
        jobs = json.dumps(await store("list_fhir_jobs", job_type="EXPORT"))
        if '"COMPLETED"' in jobs:
            break
        assert time.monotonic() < until and '"FAILED"' not in jobs, jobs
        await asyncio.sleep(0.2)
    ok("start_fhir_export_job, list_fhir_jobs")
    started = await store("start_fhir_import_job", data_access_role_arn=ROLE, job_name="back",
                          input_data_config={"s3_uri": f"s3://mcp/export/{STORE}-FHIR_EXPORT-{started['JobId']}/"},
                          job_output_data_config={"s3_configuration": {"s3_uri": "s3://mcp/import", "kms_key_id": KEY}})
    assert started["JobStatus"] == "SUBMITTED", started
    while '"COMPLETED"' not in json.dumps(await store("list_fhir_jobs", job_type="IMPORT")):
        assert time.monotonic() < until
        await asyncio.sleep(0.2)
    ok("start_fhir_import_job, list_fhir_jobs")

    await store("delete_fhir_resource", resource_type="Observation", resource_id=seen[1] if seen[0] == patient else seen[0])
    gone = await session.call_tool("read_fhir_resource", {"datastore_id": STORE, "resource_type": "Observation",
                                                          "resource_id": seen[1] if seen[0] == patient else seen[0]})
    assert "not_found" in gone.content[0].text or "not found" in gone.content[0].text.lower(), gone.content[0].text
    ok("delete_fhir_resource")


async def main():
    server = StdioServerParameters(command=os.path.join(os.path.dirname(sys.executable), "awslabs.healthlake-mcp-server"),
                                   env=dict(os.environ))
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            await talk(session)


asyncio.run(main())
