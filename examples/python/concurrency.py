# SPDX-License-Identifier: Apache-2.0
"""Many commands in one box, at once. What isolates is printed first: "kvm" is hardware, "tcg" is QEMU's emulation."""
import asyncio
import sys

import boxlite
from boxlite.boxlite import SecurityOptions


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="python:slim", cpus=2, memory_mib=1024, security=SecurityOptions.maximum()))
    try:
        executions = await asyncio.gather(*(box.exec("python", ["-c", f"print('task {name}')"]) for name in "ABC"))
        print("engine:", box.engine, file=sys.stderr)
        for execution in executions:
            result = await execution.wait()
            print(result.exit_code, result.stdout, end="")
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# 0 task A
# 0 task B
# 0 task C
