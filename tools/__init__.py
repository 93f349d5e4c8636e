"""Programs that maintain the source tree; nothing here is needed at run time."""
