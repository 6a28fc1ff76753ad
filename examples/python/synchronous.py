# SPDX-License-Identifier: Apache-2.0
"""The same without asyncio."""
import boxlite

with boxlite.SyncSimpleBox(image="alpine:latest", memory_mib=512) as box:
    result = box.exec("echo", "no loop needed")
    print(result.exit_code, result.stdout, end="")

runtime = boxlite.SyncBoxlite.default()
made = runtime.create(boxlite.BoxOptions(image="alpine:latest", memory_mib=512))
execution = made.exec("sh", ["-c", "for i in 1 2 3; do echo $i; done"])
print("".join(execution.stdout()).split())
made.stop()
runtime.remove(made.id)

# Prints:
# 0 no loop needed
# ['1', '2', '3']
