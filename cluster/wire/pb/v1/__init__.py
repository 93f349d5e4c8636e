"""The protocol messages of the v1 API: the v0 messages with "agent" instead of "slave"."""
