"""The command line: `holdfast VERB …`. One module a verb; stdout is data, stderr the rest.

At module load only click and modules without third party are imported, so that `--help` and completion answer at
once. asyncio, apsw, pydantic, rich and the runtime come in inside the verbs' functions.
"""
