# SPDX-License-Identifier: Apache-2.0
"""Files into a box and out of it."""
import asyncio
import os
import tempfile

import boxlite


async def main() -> None:
    runtime = boxlite.Boxlite.default()
    box = await runtime.create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512))
    try:
        await box.write_file("/work/input", "3\n1\n2\n", parents=True)
        await (await box.exec("sh", ["-c", "sort -n /work/input > /work/sorted"])).wait()
        print((await box.read_file("/work/sorted")).decode().split())
        with tempfile.TemporaryDirectory() as folder:
            await box.copy_out("/work", folder)
            print(sorted(os.listdir(os.path.join(folder, "work"))))
        print([entry.name for entry in await box.list_dir("/work")])
    finally:
        await box.stop()
        await runtime.remove(box.id)


asyncio.run(main())

# Prints:
# ['1', '2', '3']
# ['input', 'sorted']
# ['input', 'sorted']
