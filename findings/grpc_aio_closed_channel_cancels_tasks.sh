#!/usr/bin/env bash
# grpc.aio: closing a channel cancels the tasks that wait for its calls, so a TaskGroup ends without an error.
#
# One would expect a call that `close` ends to raise an RpcError with the code CANCELLED, as in the synchronous
# interface; in grpc.aio, too, a server that stops makes its calls fail with one. But a closed channel makes them raise
# CancelledError, which asyncio takes for a cancellation that somebody asked for. A TaskGroup then ends in good order
# although no work was done, and the program reports success or acknowledges the job. `gather(return_exceptions=True)`
# returns the exception, but it is not an `Exception`, so the usual filter and `except Exception` miss it. It happens
# when one task replaces a channel (a new address, a new certificate) that others still use; a grace period only makes
# it rarer. Where `current_task().cancelling()` is 0, nobody cancelled the task: raise an error there. (A call that
# begins after `close` does raise an error.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'grpcio==1.85.3'
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^grpcio '
cat > "$folder/program.py" <<'PYTHON'
import asyncio

import grpc

JOBS = 3
METHOD = "/test/Put"


async def checked(work):
    """Raises an error if the work, and not the task, was cancelled."""
    try:
        await work
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():
            raise
        raise RuntimeError("the channel was closed") from None


async def in_group(jobs):
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as group:
        error = group.exceptions[0]
        return error.code().name if isinstance(error, grpc.RpcError) else type(error).__name__
    return "no error"


async def gathered(jobs):
    results = await asyncio.gather(*jobs, return_exceptions=True)
    return f"{sum(isinstance(result, Exception) for result in results)} errors"


async def show(what, run, ending="channel", check=False):
    arrived, done = asyncio.Semaphore(0), []

    async def put(request, context):
        arrived.release()
        await asyncio.Event().wait()

    async def job(channel, number):
        work = channel.unary_unary(METHOD)(b"")
        await (checked(work) if check else work)
        done.append(number)

    server = grpc.aio.server()
    handlers = {"Put": grpc.unary_unary_rpc_method_handler(put)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    if ending == "synchronous channel":
        channel = grpc.insecure_channel(address)
        call = channel.unary_unary(METHOD).future(b"")
        await arrived.acquire()
        channel.close()
        found = f"{call.code().name}, {call.details()}"
    else:
        channel = grpc.aio.insecure_channel(address)
        running = asyncio.ensure_future(run([job(channel, number) for number in range(JOBS)]))
        for _ in range(JOBS):
            await arrived.acquire()
        await (channel.close() if ending == "channel" else server.stop(0))
        found = f"{await running}, {len(done)} of {JOBS} jobs done"
        await channel.close()
    await server.stop(0)
    print(f"{what}: {found}")


async def main():
    await show("grpc, the channel is closed", None, "synchronous channel")
    await show("grpc.aio, the server stops, TaskGroup", in_group, "server")
    await show("grpc.aio, the channel is closed, TaskGroup", in_group)
    await show("grpc.aio, the channel is closed, gather", gathered)
    await show("the same TaskGroup with a check of cancelling()", in_group, check=True)


asyncio.run(main())
PYTHON
seen=$(GRPC_VERBOSITY=NONE "$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected="grpc, the channel is closed: CANCELLED, Channel closed!
grpc.aio, the server stops, TaskGroup: UNAVAILABLE, 0 of 3 jobs done
grpc.aio, the channel is closed, TaskGroup: no error, 0 of 3 jobs done
grpc.aio, the channel is closed, gather: 0 errors, 0 of 3 jobs done
the same TaskGroup with a check of cancelling(): RuntimeError, 0 of 3 jobs done"
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
