# SPDX-License-Identifier: Apache-2.0
"""Output as it comes, and input while it runs."""
import asyncio

import boxlite


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512))
    try:
        execution = await box.exec("sh", ["-c", "while read word; do echo got $word; done"])
        stdin, stdout = execution.stdin(), execution.stdout()
        for word in ("one", "two"):
            await stdin.send_input(word.encode() + b"\n")
            print(await stdout.__anext__(), end="")  # before the next is sent
        stdin.close()
        print((await execution.wait()).exit_code)
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# got one
# got two
# 0
