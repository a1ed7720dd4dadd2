"""The live part of the log: the writer, which makes commits durable, and the hub, which notifies watchers."""
