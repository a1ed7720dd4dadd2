"""The log's live half: the writer that makes commands durable, and the hub that tells watchers."""
