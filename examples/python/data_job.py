# SPDX-License-Identifier: Apache-2.0
"""A job: data in, a script of the agent, one result out as JSON."""
import asyncio
import json

import boxlite

DATA = "city,degrees\nOslo,4\nRome,19\nOslo,6\nRome,21\n"
SCRIPT = """
import collections, csv, json, statistics
rows = collections.defaultdict(list)
for row in csv.DictReader(open("/job/data.csv")):
    rows[row["city"]].append(float(row["degrees"]))
json.dump({city: statistics.mean(v) for city, v in rows.items()}, open("/job/result.json", "w"))
"""


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="python:slim", memory_mib=512, working_dir="/job"))
    try:
        await box.write_file("/job/data.csv", DATA)
        await box.write_file("/job/script.py", SCRIPT)
        result = await (await box.exec("python", ["script.py"], timeout_secs=60)).wait()
        print(result.exit_code, json.loads(await box.read_file("/job/result.json")))
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# 0 {'Oslo': 5.0, 'Rome': 20.0}
