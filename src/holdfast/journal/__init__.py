"""Where it is written: the codec, and the engines that keep events, heads and mail.

`codec` turns values into bytes and back, with `tags` (the closed list of what bytes may mean) and `typed` (what an
annotation adds).

`open` finds the engine for a store's name: callers begin there. `sqlite` is the engine and names its parts:
`file` makes and recognises the file, `database` begins and ends transactions, `checkpoint` keeps the log short;
`log`, `mailbox`, `leases` and `blobs` hold the statements for events, messages, claims and large values; `rows` turns
them into columns and seals them. `memory` is the same contract without a file. `refusal` says why either says no,
`process` whether a worker is dead. This package knows no agent, step or model: it stores what the core decided.
"""
