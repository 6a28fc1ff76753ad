# SPDX-License-Identifier: Apache-2.0
"""A box that is stopped keeps its disk, and has a name by which it is found again."""
import asyncio

import boxlite


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    options = boxlite.BoxOptions(image="alpine:latest", memory_mib=512)
    box, created = await runtime.get_or_create(options, "notebook")
    print(created)
    await (await box.exec("sh", ["-c", "echo remember > /root/note"])).wait()
    await box.stop()

    box, created = await runtime.get_or_create(options, "notebook")
    print(created, (await (await box.exec("cat", ["/root/note"])).wait()).stdout, end="")
    await runtime.remove("notebook", force=True)


asyncio.run(main())

# Prints:
# True
# False remember
