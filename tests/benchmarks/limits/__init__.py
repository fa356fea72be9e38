"""The least programs that do the durable work of each work, on raw sockets: how near to them is syncd?

Each is a process of its own that imports nothing of ours but its neighbours. Those that a daemon is compared with are
connected first, and do one step each time they are asked.
"""
