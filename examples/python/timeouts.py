# SPDX-License-Identifier: Apache-2.0
"""Commands that take too long are ended with all they have started: by the box itself (timeout_secs), or by the program."""
import asyncio

import boxlite


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512))
    try:
        result = await (await box.exec("sh", ["-c", "sleep 1000 & sleep 1000"], timeout_secs=0.2)).wait()
        print(result.timed_out, result.exit_code)

        execution = await box.exec("sleep", ["1000"])
        try:
            await asyncio.wait_for(execution.wait(), timeout=0.2)
        except asyncio.TimeoutError:
            await execution.kill()  # giving up waiting does not end it
        print((await execution.wait()).exit_code)
        print(sum(p.command.startswith("sleep") for p in await box.processes()))
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# True 143
# 137
# 0
